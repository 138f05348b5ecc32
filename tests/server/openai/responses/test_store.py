"""The store of responses: bounded, separate for each owner, never without what still runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos.errors import NotFound
from llmasos.server.openai.responses.store import Record, ResponseStore


def record(id: str, owner: str = "", status: str = "completed", text: str = "") -> Record:
    return Record(owner, {"id": id, "status": status, "text": text}, [])


def test_owners_do_not_see_each_other() -> None:
    store = ResponseStore(10, 10**6)
    store.put(record("a", "key1"))
    assert store.get("key1", "a").response["id"] == "a"
    assert store.find("key2", "a") is None
    for owner, id in [("key2", "a"), ("", "a"), ("key1", "b")]:
        with pytest.raises(NotFound, match="there is no response"):
            store.get(owner, id)


def test_the_oldest_go_first_and_what_runs_stays() -> None:
    store = ResponseStore(2, 10**6)
    for id, status in [("a", "in_progress"), ("b", "completed"), ("c", "completed"), ("d", "queued")]:
        store.put(record(id, status=status))
    assert [store.find("", id) is not None for id in "abcd"] == [True, False, False, True]


def test_bytes_are_bounded_too() -> None:
    store = ResponseStore(100, 1000)
    for id in "abc":
        store.put(record(id, text="x" * 400))
    assert [store.find("", id) is not None for id in "abc"] == [False, True, True]
    store.put(record("d", text="x" * 2000))
    assert store.find("", "d") is None
    store.put(record("e"))
    assert store.find("", "e") is not None


operations = st.lists(
    st.tuples(st.sampled_from(["put", "end", "delete"]), st.integers(0, 8), st.integers(0, 300), st.booleans()),
    max_size=40,
)


@given(operations, st.integers(1, 5), st.integers(50, 1500))
def test_it_keeps_within_its_bounds(steps: Any, kept: int, most: int) -> None:
    async def play() -> None:
        store = ResponseStore(kept, most)
        known: dict[str, Record] = {}
        for action, number, size, running in steps:
            id = str(number)
            if action == "put" and store.find("", id) is None:
                known[id] = record(id, status="in_progress" if running else "completed", text="x" * size)
                store.put(known[id])
            elif action == "end" and id in known and store.has(known[id]):
                known[id].response["status"] = "completed"
                known[id].response["text"] += "y" * size
                store.put(known[id])
            elif action == "delete" and store.find("", id) is not None:
                await store.delete(store.get("", id))
            alive = [item for item in known.values() if store.has(item)]
            finished = [item for item in alive if not item.running]
            assert len(store) == len(alive)
            assert len(finished) <= max(0, kept - (len(alive) - len(finished))) or len(finished) <= kept
            assert not finished or sum(item.size for item in alive) <= most
            assert store._bytes == sum(item.size for item in alive)

    asyncio.run(play())


def test_followers_get_all_events_once() -> None:
    async def play() -> list[list[bytes]]:
        followed = record("a", status="in_progress")
        followed.events = [b"0"]

        async def follow(start: int) -> list[bytes]:
            return [item async for item in followed.follow(start)]

        followers = [asyncio.create_task(follow(start)) for start in (0, 1, 2)]
        for number in range(1, 4):
            await asyncio.sleep(0)
            followed.events.append(str(number).encode())
            if number == 3:
                followed.response["status"] = "completed"
            followed.announce()
        return [*await asyncio.gather(*followers), await follow(3), await follow(9)]

    assert asyncio.run(play()) == [[b"0", b"1", b"2", b"3"], [b"1", b"2", b"3"], [b"2", b"3"], [b"3"], []]
