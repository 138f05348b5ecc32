from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from standin_http import Handler, StandIn, running

from llmasos.errors import IntegrityError, NotFound, OutOfDisk, Unauthorised, Unavailable
from llmasos.library.sources.download import Checksum, Download, fetch
from llmasos.library.sources.transport import HttpTransport, open_client
from llmasos.progress import Event

pytestmark = pytest.mark.integration  # by its time: seconds, not milliseconds

DATA = bytes(range(256)) * 2000  # 512 000 bytes
SHA256 = hashlib.sha256(DATA).hexdigest()


class Files(StandIn):
    def __init__(self) -> None:
        super().__init__()
        self.files = {"a": DATA}
        self.etag = '"one"'

    def answer(self, handler: Handler) -> None:
        data = self.files.get(handler.route.lstrip("/"))
        if data is None:
            handler.reply(404, b"")
        else:
            handler.reply_file(data, self.etag)


@pytest.fixture
def server() -> Iterator[Files]:
    with running(Files()) as standin:
        yield standin


def get(*items: Download, **options: int) -> None:
    transport = HttpTransport(open_client())
    try:
        fetch(items, transport, label="test", **options)
    finally:
        transport.close()


def item(server: Files, folder: Path, *, size: int | None = len(DATA), sha256: str | None = SHA256) -> Download:
    return Download(f"{server.url}/a", folder / "a", size, Checksum("sha256", sha256) if sha256 else None)


def test_a_file_arrives_whole_and_is_not_fetched_twice(server: Files, tmp_path: Path, events: list[Event]) -> None:
    get(item(server, tmp_path))
    assert (tmp_path / "a").read_bytes() == DATA
    assert sorted(path.name for path in tmp_path.glob("a*")) == ["a"]
    finished = [event for event in events if event.kind == "finished"]
    assert [(event.completed, event.total, event.unit) for event in finished] == [(len(DATA), len(DATA), "B")]
    get(item(server, tmp_path))
    assert len(server.log) == 1


def test_a_cut_connection_continues_where_it_stopped(server: Files, tmp_path: Path) -> None:
    server.faults.cut["a"] = [200_000, 100_000]
    get(item(server, tmp_path))
    assert (tmp_path / "a").read_bytes() == DATA
    assert server.sent("a") == len(DATA)
    assert [request.headers.get("range") for request in server.log] == [None, "bytes=200000-", "bytes=300000-"]
    assert "if-range" not in server.log[1].headers  # the checksum decides


def test_without_a_checksum_the_etag_decides(server: Files, tmp_path: Path) -> None:
    server.faults.cut["a"] = [200_000]
    get(item(server, tmp_path, sha256=None))
    assert (tmp_path / "a").read_bytes() == DATA
    assert server.sent("a") == len(DATA)
    assert server.log[1].headers["if-range"] == '"one"'


def test_a_later_process_continues_too(server: Files, tmp_path: Path, configure: Callable[..., None]) -> None:
    configure(download_retries=0)
    server.faults.cut["a"] = [200_000]
    with pytest.raises(Unavailable) as caught:
        get(item(server, tmp_path))
    assert "again" in str(caught.value.hint)
    assert not (tmp_path / "a").exists()
    assert (tmp_path / "a.partial").stat().st_size == 200_000
    get(item(server, tmp_path))
    assert (tmp_path / "a").read_bytes() == DATA
    assert server.sent("a") == len(DATA)


def test_progress_begins_at_what_is_there_already(
    server: Files, tmp_path: Path, configure: Callable[..., None], events: list[Event]
) -> None:
    configure(download_retries=0)
    server.faults.cut["a"] = [200_000]
    with pytest.raises(Unavailable):
        get(item(server, tmp_path))
    del events[:]
    get(item(server, tmp_path))
    assert next(event.completed for event in events if event.kind == "progress") == 200_000
    assert max(event.completed or 0 for event in events) == len(DATA)


def test_a_file_that_changed_meanwhile_starts_again(
    server: Files, tmp_path: Path, configure: Callable[..., None]
) -> None:
    configure(download_retries=0)
    server.faults.cut["a"] = [200_000]
    plain = item(server, tmp_path, size=None, sha256=None)
    with pytest.raises(Unavailable):
        get(plain)
    server.files["a"], server.etag = b"other", '"two"'
    get(plain)
    assert (tmp_path / "a").read_bytes() == b"other"


def test_without_validator_and_checksum_nothing_is_continued(
    server: Files, tmp_path: Path, configure: Callable[..., None]
) -> None:
    configure(download_retries=0)
    server.etag = 'W/"weak"'
    server.faults.cut["a"] = [200_000]
    plain = item(server, tmp_path, sha256=None)
    with pytest.raises(Unavailable):
        get(plain)
    get(plain)
    assert (tmp_path / "a").read_bytes() == DATA
    assert "range" not in server.log[1].headers


def test_a_server_without_ranges_starts_again(server: Files, tmp_path: Path) -> None:
    server.faults.cut["a"] = [200_000]
    server.faults.ignore_ranges = True
    get(item(server, tmp_path))
    assert (tmp_path / "a").read_bytes() == DATA


def test_a_damaged_partial_file_is_thrown_away_once(server: Files, tmp_path: Path) -> None:
    download = item(server, tmp_path)
    download.partial.write_bytes(b"x" * 100_000)
    download.state.write_text(f'{{"url": "{download.url}", "checksum": "{SHA256}", "validator": ""}}')
    get(download)
    assert (tmp_path / "a").read_bytes() == DATA


def test_a_partial_file_of_other_bytes_is_not_used(server: Files, tmp_path: Path) -> None:
    download = item(server, tmp_path)
    download.partial.write_bytes(b"x" * 100_000)
    download.state.write_text('{"url": "elsewhere", "checksum": "other", "validator": ""}')
    get(download)
    assert (tmp_path / "a").read_bytes() == DATA
    assert "range" not in server.log[0].headers


def test_wrong_digest(server: Files, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError) as caught:
        get(item(server, tmp_path, sha256="0" * 64))
    assert SHA256 in caught.value.message
    assert list(tmp_path.glob("a*")) == []


def test_more_bytes_than_announced(server: Files, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError):
        get(item(server, tmp_path, size=1000))
    assert not (tmp_path / "a").exists()


def test_git_objects_are_checked_by_their_name(server: Files, tmp_path: Path) -> None:
    name = hashlib.sha1(b"blob %d\0" % len(DATA) + DATA).hexdigest()
    get(Download(f"{server.url}/a", tmp_path / "a", len(DATA), Checksum("git-sha1", name)))
    with pytest.raises(IntegrityError):
        get(Download(f"{server.url}/a", tmp_path / "b", len(DATA), Checksum("git-sha1", "0" * 40)))


@pytest.mark.parametrize(
    ("status", "error"), [(401, Unauthorised), (403, Unauthorised), (404, NotFound), (418, Unavailable)]
)
def test_final_answers(server: Files, tmp_path: Path, status: int, error: type[Exception]) -> None:
    server.faults.statuses["a"] = [status]
    with pytest.raises(error, match=str(status)):
        get(item(server, tmp_path))
    assert len(server.log) == 1


def test_overload_is_retried(server: Files, tmp_path: Path) -> None:
    server.faults.statuses["a"] = [503]
    get(item(server, tmp_path))
    assert len(server.log) == 2


def test_nobody_answers(tmp_path: Path, configure: Callable[..., None]) -> None:
    configure(download_retries=1)
    with pytest.raises(Unavailable, match="after 2 attempts"):
        get(Download("http://127.0.0.1:9/a", tmp_path / "a"))


def test_a_stalled_connection_is_given_up_and_continued(
    server: Files, tmp_path: Path, configure: Callable[..., None]
) -> None:
    configure(download_timeout=0.3, download_retries=1)
    server.faults.stall["a"] = 300_000
    started = time.monotonic()
    with pytest.raises(Unavailable):
        get(item(server, tmp_path))
    assert time.monotonic() - started < 25
    server.faults.stall.clear()
    get(item(server, tmp_path))
    assert (tmp_path / "a").read_bytes() == DATA
    assert server.log[-1].headers["range"] == "bytes=300000-"


def test_a_failure_does_not_wait_for_a_file_that_stalls(server: Files, tmp_path: Path) -> None:
    server.faults.stall["a"] = 1000
    missing = Download(f"{server.url}/missing", tmp_path / "b", 10)
    server.faults.delay["missing"] = 0
    started = time.monotonic()
    with pytest.raises(NotFound):
        get(item(server, tmp_path), missing)
    assert time.monotonic() - started < 25  # a read of the network may take 60 s
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("download")]


def test_space_is_checked_before_the_first_byte(server: Files, tmp_path: Path, configure: Callable[..., None]) -> None:
    configure(disk_reserve=2**60)
    with pytest.raises(OutOfDisk) as caught:
        get(item(server, tmp_path))
    assert caught.value.needed > 0
    assert server.log == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full")
def test_a_disk_that_fills_up_on_the_way(server: Files, tmp_path: Path) -> None:
    download = item(server, tmp_path)
    download.partial.symlink_to("/dev/full")
    with pytest.raises(OutOfDisk) as caught:
        get(download)
    assert "full" in caught.value.message
    assert not (tmp_path / "a").exists()


def test_several_files_at_once_as_one_task(server: Files, tmp_path: Path, events: list[Event]) -> None:
    server.files |= {f"f{number}": os.urandom(50_000) for number in range(6)}
    items = [Download(f"{server.url}/f{number}", tmp_path / "sub" / f"f{number}", 50_000) for number in range(6)]
    get(*items, parallel=3)
    for number in range(6):
        assert (tmp_path / "sub" / f"f{number}").read_bytes() == server.files[f"f{number}"]
    assert len({event.task for event in events}) == 1
    assert max(event.completed or 0 for event in events) == 300_000
