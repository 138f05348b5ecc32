"""Runs in the catalogue: made, found, claimed by one of several, reaped and removed."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

import own_postgresql
from llmasos.errors import InUse, InvalidRequest, NotFound, Unavailable
from llmasos.library import database
from llmasos.library.schema import runs as table
from llmasos.library.store import Library
from llmasos.runs.outcome import FILE, Outcome, read_outcome, write_outcome
from llmasos.runs.process import HEARTBEAT, LOST_AFTER, this_process
from llmasos.runs.run import Failure, Run
from llmasos.runs.states import State
from llmasos.runs.store import RECIPE, RunStore

RECIPE_TEXT = "kind: count\nsteps: 3\n"


def change(store: RunStore, run: Run, **values: object) -> None:
    """Change a row behind the store's back."""
    with store.library.catalogue.database.write() as connection:
        connection.execute(update(table).where(table.c.id == run.id).values(**values))


def test_a_new_run(store: RunStore, tmp_path: Path) -> None:
    run = store.create("count", RECIPE_TEXT, name="first", recipe_folder=tmp_path)
    assert run.id.startswith("count-20") and run.state is State.QUEUED and run.attempt == 0
    assert (store.folder(run) / RECIPE).read_text() == RECIPE_TEXT
    assert run.recipe_folder == str(tmp_path) and run.process is None and run.seconds(datetime.now(UTC)) is None
    assert store.get(run.id) == run
    assert [path.name for path in (store.library.home / "runs").iterdir()] == [run.id]


def test_runs_are_found_by_id_beginning_end_and_name(store: RunStore) -> None:
    first = store.create("count", RECIPE_TEXT, name="mine")
    second = store.create("eval", RECIPE_TEXT, name="mine")
    assert store.find(first.id) == first
    assert store.find("mine") == second, "the newest of the name"
    assert store.find("cou") == first
    assert store.find(second.id.rpartition("-")[2]) == second
    assert [run.id for run in store.all()] == [second.id, first.id]
    with pytest.raises(NotFound) as missing:
        store.find("mind")
    assert "mine" in str(missing.value.hint)
    with pytest.raises(NotFound):
        store.find("")
    third = store.create("count", RECIPE_TEXT)
    with pytest.raises(InvalidRequest, match="could be any of 2 runs") as several:
        store.find("count-")
    assert first.id in several.value.message and third.id in several.value.message


def test_an_id_that_another_machine_took_is_not_taken_twice(
    store: RunStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ids = iter(["count-1", "count-1", "count-2"])
    monkeypatch.setattr("llmasos.runs.store.new_id", lambda kind: next(ids))
    elsewhere = Library(tmp_path / "elsewhere", database=store.library.database_url)
    assert RunStore(elsewhere).create("count", RECIPE_TEXT).id == "count-1"
    assert store.create("count", RECIPE_TEXT).id == "count-2"
    assert [path.name for path in (store.library.home / "runs").iterdir()] == ["count-2"]
    elsewhere.close()


def race(count: int, work: Callable[[], object]) -> list[object]:
    """What ``count`` threads get that do the same at the same moment."""
    start = threading.Barrier(count)
    found: list[object] = []

    def go() -> None:
        start.wait()
        found.append(work())

    threads = [threading.Thread(target=go) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == count
    return found


def check_claims(home: Path, url: str | None) -> None:
    """Of many that claim a run at once one gets it; of many runs no more are claimed than the limit allows."""
    library = Library(home, database=url)
    store = RunStore(library)
    run = store.create("count", RECIPE_TEXT)
    assert sum(got is not None for got in race(8, lambda: store.claim(run.id, limit=5))) == 1
    waiting = iter([store.create("count", RECIPE_TEXT).id for _ in range(8)])
    taken = race(8, lambda: store.claim(next(waiting), limit=3))
    assert sum(got is not None for got in taken) == 2, "with the first run, three"
    assert sum(one.state is State.RUNNING for one in store.all()) == 3
    claimed = store.get(run.id)
    assert claimed is not None
    assert sum(bool(done) for done in race(6, lambda: store.finish(claimed, Outcome(1, State.SUCCEEDED)))) == 1
    library.close()


def test_one_of_many_gets_a_run(tmp_path: Path) -> None:
    check_claims(tmp_path / "library", None)


@pytest.mark.integration
def test_one_of_many_gets_a_run_with_postgresql(tmp_path: Path) -> None:
    with own_postgresql.running() as url:
        check_claims(tmp_path / "library", url)
        library = Library(tmp_path / "library", database=url)
        store = RunStore(library)
        running = store.all(states=[State.RUNNING])
        assert len(running) == 2
        assert store.beat(running[0]) is not None and store.request_stop(running[0])
        assert store.requeue(running[0], background=True) is False
        library.close()


def test_a_claim_clears_what_the_last_attempt_left(store: RunStore) -> None:
    run = store.claim(store.create("count", RECIPE_TEXT).id)
    assert run is not None
    store.request_stop(run)
    assert store.finish(run, Outcome(1, State.FAILED, 2, Failure("x", "broken", "mend it"), {"a": 1}))
    failed = store.find(run.id)
    assert failed.failure == Failure("x", "broken", "mend it") and failed.exit_code == 2 and failed.result == {"a": 1}
    assert store.requeue(failed, background=True)
    again = store.claim(run.id)
    assert again is not None
    assert (again.failure, again.exit_code, again.stop_requested, again.finished, again.attempt) == (
        None, None, None, None, 2,
    )  # fmt: skip
    assert not store.finish(run, Outcome(1, State.SUCCEEDED)), "the first attempt has no say any more"
    assert store.beat(run) is None


def test_reaping_finds_workers_that_are_gone(store: RunStore) -> None:
    alive, dead, reused, rebooted, away, silent = (store.claim(store.create("count", RECIPE_TEXT).id) for _ in range(6))
    assert alive and dead and reused and rebooted and away and silent
    old = (datetime.now(UTC) - LOST_AFTER - timedelta(seconds=5)).isoformat(timespec="microseconds")
    child = os.fork()
    if child == 0:
        os._exit(0)
    deadline = time.monotonic() + 10
    while "Z" not in Path(f"/proc/{child}/stat").read_text().split()[2] and time.monotonic() < deadline:
        time.sleep(0.01)
    change(store, dead, pid=child)  # a zombie does no work
    change(store, reused, began="12345")  # the id is another process's now
    change(store, rebooted, place="another boot", heartbeat=old)
    change(store, away, place="another machine")  # whose sign of life is fresh
    change(store, silent, heartbeat=old)  # it is stopped, or swapped out, but it is here
    assert {run.id for run in store.reap()} == {dead.id, reused.id, rebooted.id}
    os.waitpid(child, 0)
    assert {run.id for run in store.all(states=[State.RUNNING])} == {alive.id, away.id, silent.id}
    assert store.reap() == []
    lost = store.find(dead.id)
    assert lost.state is State.LOST and lost.can_resume and lost.failure is not None


def test_a_worker_taken_for_lost_may_still_say_how_it_ended(store: RunStore) -> None:
    run = store.claim(store.create("count", RECIPE_TEXT).id)
    assert run is not None
    change(store, run, began="x")
    assert store.reap()
    assert store.finish(run, Outcome(1, State.SUCCEEDED, 0, None, {"a": 1}))
    assert store.find(run.id).state is State.SUCCEEDED and store.find(run.id).failure is None


def test_an_outcome_that_the_catalogue_never_got_is_found(store: RunStore) -> None:
    run = store.claim(store.create("count", RECIPE_TEXT).id)
    assert run is not None
    write_outcome(store.folder(run), Outcome(1, State.FAILED, 4, Failure("c", "m", "h"), {"n": 2}))
    change(store, run, began="x")
    assert store.reap() == []
    found = store.find(run.id)
    assert (found.state, found.exit_code, found.failure, found.result) == (
        State.FAILED, 4, Failure("c", "m", "h"), {"n": 2},
    )  # fmt: skip


@pytest.mark.parametrize("content", ["", "{", "[]", '{"attempt": 1}', '{"attempt": 1, "state": "dancing"}'])
def test_a_damaged_outcome_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    assert read_outcome(tmp_path, 1) is None


def test_an_outcome_is_of_its_attempt(tmp_path: Path) -> None:
    write_outcome(tmp_path, Outcome(2, State.SUCCEEDED))
    assert read_outcome(tmp_path, 1) is None
    assert read_outcome(tmp_path, 2) == Outcome(2, State.SUCCEEDED)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_run_that_was_told_to_end_is_not_lost(store: RunStore) -> None:
    run = store.claim(store.create("count", RECIPE_TEXT).id)
    assert run is not None and store.request_stop(run)
    change(store, run, began="x")
    assert store.reap() == []
    assert store.find(run.id).state is State.CANCELLED


def test_removing(store: RunStore) -> None:
    run = store.create("count", RECIPE_TEXT)
    with pytest.raises(InUse, match="queued or running"):
        store.remove(run)
    assert store.cancel_queued(run)
    store.remove(store.find(run.id))
    assert store.get(run.id) is None and list((store.library.home / "runs").iterdir()) == []


def test_a_locked_catalogue_is_waited_for(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    run = store.create("count", RECIPE_TEXT)
    store.library.close()
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.2)
    other = sqlite3.connect(store.library.home / "catalogue.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked"):
        store.claim(run.id)
    assert store.find(run.id).state is State.QUEUED, "reading goes on"
    store.library.close()
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 30.0)
    timer = threading.Timer(0.3, lambda: other.execute("ROLLBACK"))
    timer.start()
    assert store.claim(run.id) is not None
    timer.join()
    other.close()


def test_a_process_is_known_by_more_than_its_id() -> None:
    me = this_process()
    now = datetime.now(UTC)
    assert me.lives(None, now) and me.is_here()
    assert not replace(me, began="0").lives(now, now)
    elsewhere = replace(me, place="elsewhere")
    assert elsewhere.lives(now - timedelta(seconds=2 * HEARTBEAT), now)
    assert not elsewhere.lives(now - LOST_AFTER, now) and not elsewhere.lives(None, now)
