"""One stream of events (progress, metrics, logs) that the terminal, run files and the Studio all show.

Code that works for long reports to :func:`current`; whoever starts the work chooses the sinks:

    with progress.reporting(TerminalSink()):
        library.pull(...)

    with progress.current().task("pull smollm2", total=size, unit="B") as task:
        task.advance(len(chunk))
"""

from __future__ import annotations

import errno
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Literal

EventKind = Literal[
    "started", "progress", "finished", "failed", "metric", "log", "sample", "checkpoint", "artefact", "state"
]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. ``task`` joins the events of one task; ``time`` is seconds since the epoch."""

    kind: EventKind
    label: str
    task: int | None = None
    completed: float | None = None
    total: float | None = None
    unit: str | None = None
    values: Mapping[str, float | int | str] = field(default_factory=dict)
    time: float = field(default_factory=time.time)


Sink = Callable[[Event], None]
_task_ids = count(1)


class Task:
    """A piece of work with a known or unknown total; safe to advance from several threads."""

    def __init__(self, reporter: Reporter, label: str, total: float | None, unit: str | None) -> None:
        self.id = next(_task_ids)
        self.label = label
        self.total = total
        self.unit = unit
        self.completed = 0.0
        self._reporter = reporter
        self._lock = threading.Lock()
        self._last_emitted = 0.0

    def _emit(self, kind: EventKind) -> None:
        self._reporter.emit(Event(kind, self.label, self.id, self.completed, self.total, self.unit))

    def advance(self, amount: float = 1) -> None:
        """Add ``amount`` units; events are thinned to twenty a second."""
        with self._lock:
            self.completed += amount
            due = self._due()
        if due:
            self._emit("progress")

    def update(self, completed: float, *, total: float | None = None) -> None:
        """Set what is done and, if it has become known, the total."""
        with self._lock:
            self.completed = completed
            if total is not None:
                self.total = total
            due = self._due()
        if due:
            self._emit("progress")

    def _due(self) -> bool:
        """Whether to tell: fifty milliseconds after the last time, and at the end."""
        now = time.monotonic()
        due = now - self._last_emitted >= 0.05 or self.completed == self.total
        if due:
            self._last_emitted = now
        return due


class Reporter:
    """Sends every event to its sinks."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = sinks

    def emit(self, event: Event) -> None:
        for sink in self._sinks:
            sink(event)

    @contextmanager
    def task(self, label: str, *, total: float | None = None, unit: str | None = None) -> Iterator[Task]:
        """Report a task: started on entry, finished on a normal exit, failed on an exception."""
        task = Task(self, label, total, unit)
        task._emit("started")
        try:
            yield task
        except BaseException:
            task._emit("failed")
            raise
        task._emit("finished")

    def metric(self, label: str, **values: float | int | str) -> None:
        self.emit(Event("metric", label, values=values))

    def log(self, message: str, *, level: Literal["debug", "info", "warning", "error"] = "info") -> None:
        self.emit(Event("log", message, values={"level": level}))


_current: ContextVar[Reporter] = ContextVar("llmasos_reporter", default=Reporter())  # noqa: B039 - Reporter is immutable


def current() -> Reporter:
    """The reporter in force here; one without sinks when nobody listens."""
    return _current.get()


@contextmanager
def reporting(*sinks: Sink) -> Iterator[Reporter]:
    """Send the events of everything inside the block to ``sinks``. Worker threads need ``contextvars.copy_context``."""
    token = _current.set(Reporter(*sinks))
    try:
        yield _current.get()
    finally:
        _current.reset(token)


class JsonLinesSink:
    """Appends every event as one JSON line to a file (``events.jsonl`` of a run); several threads may report.

    A line is written by one call, so that a kill cuts at most the last one; who opens the file next ends it first.
    While the disk is full, lines wait in memory, and those beyond ``LIMIT`` bytes are counted in ``lost``: work must
    not end because its progress cannot be told.
    """

    LIMIT = 16 * 2**20

    def __init__(self, path: Path) -> None:
        self.lost = 0
        self._lock = threading.Lock()
        self._file = path.open("ab", buffering=0)
        self._waiting = bytearray(b"\n" if _is_cut(path) else b"")

    def __call__(self, event: Event) -> None:
        line = _as_json(event)
        with self._lock:
            if len(self._waiting) + len(line) > self.LIMIT:
                self.lost += 1
            else:
                self._waiting += line
            self._write()

    def close(self) -> int:
        """Write what waits and close the file; the number of events that could not be written."""
        with self._lock:
            if not self._file.closed:
                self._write()
                self.lost += self._waiting.count(b"\n")
                self._file.close()
            return self.lost

    def _write(self) -> None:
        try:
            while self._waiting:
                del self._waiting[: self._file.write(self._waiting) or 0]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise


def _is_cut(path: Path) -> bool:
    """Whether the last line of a file lacks its end."""
    with path.open("rb") as file:
        if file.seek(0, 2) == 0:
            return False
        file.seek(-1, 2)
        return file.read(1) != b"\n"


def _as_json(event: Event) -> bytes:
    found = {key: value for key, value in asdict(event).items() if value not in (None, {})}
    if event.values:
        found["values"] = {key: _finite(value) for key, value in event.values.items()}
    return json.dumps(found, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass") + b"\n"


def _finite(value: float | int | str) -> float | int | str:
    """JSON has no numbers that are not finite; they become the texts ``NaN``, ``Infinity`` and ``-Infinity``."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
