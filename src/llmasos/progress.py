"""One stream of events (progress, metrics, logs) that the terminal, run files and the Studio all show.

Code that works for long reports to :func:`current`; whoever starts the work chooses the sinks:

    with progress.reporting(TerminalSink()):
        library.pull(...)

    with progress.current().task("pull smollm2", total=size, unit="B") as task:
        task.advance(len(chunk))
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Literal

EventKind = Literal["started", "progress", "finished", "failed", "metric", "log"]


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
    """Appends every event as one JSON line to a file (``events.jsonl`` of a run)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        line = json.dumps(
            {key: value for key, value in asdict(event).items() if value not in (None, {})}, ensure_ascii=False
        )
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
