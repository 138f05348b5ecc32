from __future__ import annotations

import contextvars
import errno
import io
import json
import sys
import threading
from pathlib import Path

import pytest
from typing_extensions import Buffer

from llmasos import progress
from llmasos.progress import Event, JsonLinesSink


def test_a_task_reports_start_steps_and_end() -> None:
    events: list[Event] = []
    with progress.reporting(events.append), progress.current().task("copy", total=3, unit="B") as task:
        task.advance(3)
    assert [event.kind for event in events] == ["started", "progress", "finished"]
    assert {event.task for event in events} == {task.id}
    assert (events[-1].completed, events[-1].total, events[-1].unit) == (3, 3, "B")


def test_steps_are_thinned_and_the_last_one_is_not_lost() -> None:
    events: list[Event] = []
    with progress.reporting(events.append), progress.current().task("copy", total=10_000) as task:
        for _ in range(10_000):
            task.advance()
    steps = [event for event in events if event.kind == "progress"]
    assert len(steps) < 1000
    assert steps[-1].completed == 10_000


def test_a_failed_task_says_so_and_the_error_goes_on() -> None:
    events: list[Event] = []
    with (
        progress.reporting(events.append),
        pytest.raises(ValueError, match="broken"),
        progress.current().task("copy"),
    ):
        raise ValueError("broken")
    assert [event.kind for event in events] == ["started", "failed"]


def test_nobody_listens_outside_the_block() -> None:
    events: list[Event] = []
    with progress.reporting(events.append):
        progress.current().log("inside")
    progress.current().log("outside")
    assert [event.label for event in events] == ["inside"]


def test_blocks_nest() -> None:
    outer: list[Event] = []
    inner: list[Event] = []
    with progress.reporting(outer.append):
        with progress.reporting(inner.append):
            progress.current().log("a")
        progress.current().log("b")
    assert [event.label for event in inner] == ["a"]
    assert [event.label for event in outer] == ["b"]


def test_threads_take_part_with_a_copied_context() -> None:
    events: list[Event] = []
    with progress.reporting(events.append):
        context = contextvars.copy_context()
        worker = threading.Thread(target=lambda: context.run(lambda: progress.current().log("from a thread")))
        worker.start()
        worker.join()
    assert [event.label for event in events] == ["from a thread"]


def test_a_task_may_be_advanced_by_many_threads() -> None:
    def work() -> None:
        for _ in range(2000):
            task.advance()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with progress.current().task("count", total=16_000) as task:
            workers = [threading.Thread(target=work) for _ in range(8)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
    finally:
        sys.setswitchinterval(before)
    assert task.completed == 16_000


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = JsonLinesSink(path)
    with progress.reporting(sink):
        progress.current().metric("train", loss=1.5, step=3)
        with progress.current().task("复制", total=2, unit="B") as task:
            task.update(2)
    assert sink.close() == 0
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line["kind"] for line in lines] == ["metric", "started", "progress", "finished"]
    assert lines[0]["values"] == {"loss": 1.5, "step": 3}
    assert lines[1]["label"] == "复制"
    assert "unit" not in lines[0], "what an event does not have is left out"


def test_json_lines_have_no_numbers_that_json_lacks(tmp_path: Path) -> None:
    sink = JsonLinesSink(tmp_path / "events.jsonl")
    sink(Event("metric", "train", values={"a": float("nan"), "b": float("-inf"), "c": 1.0}))
    sink.close()
    line = json.loads((tmp_path / "events.jsonl").read_bytes())
    assert line["values"] == {"a": "NaN", "b": "-Infinity", "c": 1.0}


def test_a_line_that_a_kill_cut_is_ended_first(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"kind": "log", "la')
    sink = JsonLinesSink(path)
    sink(Event("log", "after"))
    sink.close()
    cut, after = path.read_bytes().splitlines()
    assert cut == b'{"kind": "log", "la' and json.loads(after)["label"] == "after"


class FullDisk(io.RawIOBase):
    """A file on a disk that is full for a while; it takes a part of a line, as disks do."""

    def __init__(self) -> None:
        self.written = b""
        self.room = 10_000

    def write(self, data: Buffer, /) -> int:
        size = min(len(bytes(data)), self.room)
        if size == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.written += bytes(data)[:size]
        self.room -= size
        return size


def test_lines_wait_while_the_disk_is_full(tmp_path: Path) -> None:
    sink = JsonLinesSink(tmp_path / "events.jsonl")
    sink._file.close()
    disk = FullDisk()
    sink._file = disk  # type: ignore[assignment]
    disk.room = 30
    for number in range(3):
        sink(Event("log", str(number)))
    assert len(disk.written) == 30
    disk.room = 10_000
    sink(Event("log", "3"))
    assert [json.loads(line)["label"] for line in disk.written.splitlines()] == ["0", "1", "2", "3"]
    assert sink.close() == 0


def test_what_a_full_disk_cost_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JsonLinesSink, "LIMIT", 300)
    sink = JsonLinesSink(tmp_path / "events.jsonl")
    sink._file.close()
    disk = FullDisk()
    sink._file = disk  # type: ignore[assignment]
    disk.room = 0
    for number in range(50):
        sink(Event("log", str(number)))
    assert 0 < sink.lost < 50
    assert sink.close() == 50


def test_a_file_that_cannot_be_written_otherwise_is_an_error(tmp_path: Path) -> None:
    sink = JsonLinesSink(tmp_path / "events.jsonl")
    sink.close()
    with pytest.raises(ValueError, match="closed"):
        sink(Event("log", "late"))
