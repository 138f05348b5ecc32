"""Files that people send: whole or not at all, within the limits, each under a name of its own."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.requests import ClientDisconnect

from llmasos.errors import InvalidRequest, NotFound, OutOfDisk, RequestTooLarge
from llmasos.library.store import Library
from llmasos.server.ollama.uploads import Uploads as OllamaUploads
from llmasos.settings import get_settings
from llmasos.studio import receiving, uploads

Configure = Callable[..., None]


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Settings of this test."""

    def run(**values: object) -> None:
        for key, value in values.items():
            monkeypatch.setenv(f"LLMASOS_{key.upper()}", str(value))
        get_settings.cache_clear()

    return run


@pytest.fixture
def library(home: Path) -> Iterator[Library]:
    found = Library(home)
    yield found
    found.close()


async def _chunks(*parts: bytes, then: BaseException | None = None) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if then is not None:
        raise then


def _send(library: Library, name: str, *parts: bytes, declared: int = 0, then: BaseException | None = None) -> Path:
    return asyncio.run(uploads.receive(library, name, _chunks(*parts, then=then), declared=declared))


def _left(library: Library) -> list[str]:
    folder = uploads.folder(library)
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_file_comes_whole(library: Library) -> None:
    path = _send(library, "评论.csv", b"a,b\n", b"", b"1,2\n")
    assert path.read_bytes() == b"a,b\n1,2\n" and path.parent == uploads.folder(library)
    assert uploads.files(library) == [path]
    uploads.remove(library, path.name)
    assert uploads.files(library) == [] == _left(library)


def test_a_name_that_is_taken_gets_a_number(library: Library) -> None:
    names = [_send(library, "../a.csv.gz", part).name for part in (b"1", b"2", b"3")]
    assert names == ["a.csv.gz", "a-2.csv.gz", "a-3.csv.gz"]
    assert [path.read_bytes() for path in sorted(uploads.files(library))] == [b"2", b"3", b"1"]


def test_a_number_is_given_without_links_too(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    assert [_send(library, "a.csv", b"x").name for _ in range(2)] == ["a.csv", "a-2.csv"]
    assert _left(library) == ["a-2.csv", "a.csv"]


def test_two_at_once_get_two_names(library: Library) -> None:
    async def both() -> list[Path]:
        return await asyncio.gather(*(uploads.receive(library, "a.csv", _chunks(b"%d" % n)) for n in range(8)))

    paths = asyncio.run(both())
    assert len({path.name for path in paths}) == 8
    assert [path.read_bytes() for path in paths] == [b"%d" % n for n in range(8)]


@pytest.mark.parametrize("then", [ClientDisconnect(), asyncio.CancelledError(), RuntimeError("broken")])
def test_what_is_broken_off_leaves_nothing(library: Library, then: BaseException) -> None:
    with pytest.raises(type(then)):
        _send(library, "a.csv", b"x" * 5_000_000, then=then)
    assert _left(library) == []


def test_what_is_too_large_is_refused_by_its_word_and_by_its_bytes(library: Library, configure: Configure) -> None:
    configure(upload_limit=10)
    with pytest.raises(RequestTooLarge, match="larger than 10 B"):
        _send(library, "a.csv", declared=11)
    with pytest.raises(RequestTooLarge) as refused:
        _send(library, "a.csv", b"12345", b"67890", b"1", declared=10)
    assert "upload_limit" in (refused.value.hint or "")
    assert _left(library) == []
    assert _send(library, "a.csv", b"1234567890").stat().st_size == 10


def test_a_disk_that_is_too_full_is_said_before(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmasos.library.disk.free_bytes", lambda _: library.disk_reserve + 10)
    with pytest.raises(OutOfDisk):
        _send(library, "a.csv", b"x", declared=11)
    assert _left(library) == []


def test_a_disk_that_others_fill_meanwhile(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter([library.disk_reserve + 1000, library.disk_reserve - 1])
    monkeypatch.setattr("llmasos.library.disk.free_bytes", lambda _: next(free))
    monkeypatch.setattr(uploads, "_SPACE_EVERY", 4)
    with pytest.raises(OutOfDisk):
        _send(library, "a.csv", b"12345", declared=5)
    assert _left(library) == []


def test_a_disk_that_fills_up_meanwhile(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(uploads, "sync_file", full)
    with pytest.raises(OutOfDisk):
        _send(library, "a.csv", b"x")
    assert _left(library) == []


def test_nothing_is_no_file(library: Library) -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        _send(library, "a.csv")
    assert _left(library) == []


def test_what_a_killed_server_left_goes(library: Library) -> None:
    _send(library, "a.csv", b"x")
    old, new = (uploads.folder(library) / f".{name}.partial" for name in ("old", "new"))
    for path, age in ((old, 2 * 24 * 3600), (new, 0)):
        path.write_bytes(b"part")
        os.utime(path, (time.time() - age,) * 2)
    assert [path.name for path in uploads.files(library)] == ["a.csv"]
    _send(library, "b.csv", b"x")
    assert not old.exists() and new.exists()


def test_the_files_of_other_servers_are_others(library: Library) -> None:
    """The API of Ollama removes what lies in its folder after a day."""
    path = _send(library, "a.csv", b"x")
    os.utime(path, (0, 0))
    OllamaUploads(library)._prepare(0)
    assert path.exists()


@pytest.mark.parametrize("name", ["../catalogue.db", "missing.csv", "", ".", "sub/../a.csv", ".a.partial"])
def test_only_files_that_are_here_are_removed(library: Library, name: str) -> None:
    _send(library, "a.csv", b"x")
    with pytest.raises(NotFound):
        uploads.remove(library, name)
    assert _left(library) == ["a.csv"]


@pytest.fixture
def client(library: Library) -> TestClient:
    application = FastAPI()
    application.include_router(receiving.router(library), prefix="/studio")
    return TestClient(application)


def test_a_browser_sends_a_file(client: TestClient, library: Library) -> None:
    assert client.get("/studio/uploads/评论.csv", params={"size": 3}).json() == {"name": "评论.csv"}
    answer = client.put("/studio/uploads/..%2F..%2F评论.csv", content=b"a,b")
    assert (answer.status_code, answer.json()) == (201, {"name": "评论.csv"})
    assert [path.name for path in uploads.files(library)] == ["评论.csv"]


def test_a_browser_is_told_in_its_language(client: TestClient, library: Library, configure: Configure) -> None:
    configure(upload_limit=10)
    client.cookies.set("llmasos_language", "zh")
    told = client.get("/studio/uploads/a.csv", params={"size": 11})
    assert told.status_code == 200 and "文件大于" in told.json()["error"] and "upload_limit" in told.json()["hint"]
    assert client.put("/studio/uploads/a.csv", content=b"x" * 11).status_code == 413
    assert client.put("/studio/uploads/a.exe", content=b"x").status_code == 400
    assert _left(library) == []


def test_a_form_of_another_page_cannot_send(client: TestClient, library: Library) -> None:
    assert client.post("/studio/uploads/a.csv", content=b"x").status_code == 405
    assert _left(library) == []
