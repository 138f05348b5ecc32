"""The events of a run: what they hold, and how their file is read.

``events.jsonl`` has one :class:`~llmasos.progress.Event` a line, with these keys; what an event does not have is left
out. Numbers that are not finite are the texts ``NaN``, ``Infinity`` and ``-Infinity``, so that every line is JSON.

========== ============================ ===========================================================================
kind       label                        what else it has
========== ============================ ===========================================================================
started    what is done                 ``task`` (joins the events of one task), ``total``, ``unit``
progress   what is done                 ``task``, ``completed``, ``total``, ``unit``
finished   what is done                 the same
failed     what is done                 the same
metric     the series, ``train``        ``values``: ``step`` and the measures at it, see :data:`METRICS`
sample     the series                   ``values``: ``step``, ``prompt``, ``output``, sometimes ``reference``
checkpoint folder below the run's       ``values``: ``step``, ``best`` (1 or 0)
artefact   name, digest or path         ``values``: ``kind``, sometimes ``digest``, ``path``
log        a sentence                   ``values``: ``level``
state      the run's new state          ``values``: ``attempt``, sometimes ``error``
========== ============================ ===========================================================================

A run that goes on from a checkpoint after it was killed reports some steps a second time; the later report counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

from llmasos.progress import Event, EventKind
from llmasos.runs.tail import Tail

METRIC_LABEL = "train"  # the series of training; work of other kinds names its own


@dataclass(frozen=True)
class Metric:
    """What a measure is called, its unit, and whether less of it is better (``None``: neither)."""

    description: str
    unit: str = ""
    lower_is_better: bool | None = None


#: The measures that every part of the program knows by name.
METRICS: dict[str, Metric] = {
    "loss": Metric("Training loss", lower_is_better=True),
    "eval_loss": Metric("Validation loss", lower_is_better=True),
    "learning_rate": Metric("Learning rate"),
    "gradient_norm": Metric("Gradient norm"),
    "epoch": Metric("Epoch"),
    "tokens": Metric("Tokens read, without padding", "tokens"),
    "tokens_per_second": Metric("Speed", "tokens/s", lower_is_better=False),
    "mfu": Metric("Model FLOP utilisation (MFU)", lower_is_better=False),
    "memory_bytes": Metric("Memory", "B", lower_is_better=True),
}

_KINDS = frozenset(get_args(EventKind))
_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_FIELDS = frozenset(item.name for item in fields(Event))


@dataclass
class EventFile:
    """Reads ``events.jsonl``, also while it is written: each call of :meth:`read` gives what is new.

    Attributes:
        damaged: numbers of lines, from 1, that are no events, such as those that a full disk or a crash cut.
    """

    path: Path
    damaged: list[int] = field(default_factory=list)
    _line: int = 0

    def __post_init__(self) -> None:
        self._tail = Tail(self.path)

    def read(self) -> Iterator[Event]:
        """The events since the last call; none if there is no file yet. A line without its end waits for it."""
        for line in self._tail.read():
            self._line += 1
            event = parse_event(line)
            if event is not None:
                yield event
            elif line.strip():
                self.damaged.append(self._line)


def parse_event(line: bytes) -> Event | None:
    """The event of a line, or ``None`` if the line is none."""
    try:
        values: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or not values.keys() <= _FIELDS:
        return None
    if values.get("kind") not in _KINDS or not isinstance(values.get("label"), str):
        return None
    numbers = [values.get(name) for name in ("completed", "total", "time", "task")]
    if not all(number is None or isinstance(number, int | float) for number in numbers):
        return None
    measured = values.setdefault("values", {})
    if not isinstance(measured, dict) or not all(isinstance(item, int | float | str) for item in measured.values()):
        return None
    if values["kind"] == "metric":
        values["values"] = {name: _NUMBERS.get(item, item) for name, item in measured.items()}
    return Event(**values)
