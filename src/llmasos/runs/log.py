"""``log.txt`` of a run: what happened in lines for people, and what the libraries had to say."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from types import TracebackType

from llmasos.library.disk import full_disk_as_error
from llmasos.progress import Event
from llmasos.units import format_bytes, format_count

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_OURS = "llmasos.run"


class LogFile:
    """Adds the log records of this process, and the events of the run, to a file while the block runs.

    Raises:
        OutOfDisk: the file cannot be opened for want of space.
    """

    def __init__(self, path: Path) -> None:
        with full_disk_as_error(path.parent):
            self._handler = logging.FileHandler(path, encoding="utf-8", errors="replace")
        self._handler.setFormatter(logging.Formatter(_FORMAT))

    def __enter__(self) -> LogFile:
        logging.getLogger().addHandler(self._handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger().removeHandler(self._handler)
        self._handler.close()

    def sink(self, event: Event) -> None:
        """Write what people want to read of an event; the steps of a task are left to ``events.jsonl``."""
        text = event_line(event)
        if text is not None:
            self.line(text, level=_level(event), when=event.time)

    def line(self, text: str, *, level: int = logging.INFO, when: float | None = None) -> None:
        """Write one line."""
        record = logging.LogRecord(_OURS, level, "", 0, text, None, None)
        if when is not None:
            record.created = when
            record.msecs = (when % 1) * 1000
        self._handler.handle(record)

    def failure(self, error: BaseException) -> None:
        """Write the traceback of what ended the run."""
        self.line("".join(traceback.format_exception(error)).rstrip(), level=logging.ERROR)


def _level(event: Event) -> int:
    if event.kind == "failed":
        return logging.ERROR
    name = str(event.values.get("level", "info")).upper() if event.kind == "log" else "INFO"
    return logging.getLevelNamesMapping().get(name, logging.INFO)


def event_line(event: Event) -> str | None:
    """An event in one line for people; ``None`` for those that nobody wants to read one by one."""
    values = event.values
    match event.kind:
        case "log":
            return event.label
        case "metric":
            return f"{event.label}: " + " ".join(f"{name}={_number(name, value)}" for name, value in values.items())
        case "sample":
            return f"step {values.get('step')}: {values.get('prompt')!r} -> {values.get('output')!r}"
        case "checkpoint":
            return f"checkpoint {event.label}" + (" (best)" if values.get("best") else "")
        case "artefact":
            return f"made: {values.get('kind')} {event.label}"
        case "state":
            error = f": {values['error']}" if "error" in values else ""
            return f"{event.label} (attempt {values.get('attempt')}){error}"
        case "started" | "finished" | "failed":
            return f"{event.label}: {event.kind}"
        case _:
            return None


def _number(name: str, value: float | int | str) -> str:
    if isinstance(value, str):
        return value
    if name.endswith("_bytes"):
        return format_bytes(value).replace(" ", "")
    if name == "tokens":
        return format_count(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{value:.0f}"
    return f"{value:.4g}"
