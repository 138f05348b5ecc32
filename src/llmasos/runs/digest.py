"""Where a run stands, from its events: what is done, how fast, how much longer, the newest measures."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from llmasos.progress import Event
from llmasos.runs.events import METRIC_LABEL

_WINDOW = 120.0  # seconds that the speed is taken over


@dataclass
class Digest:
    """Takes events one by one and keeps what is new.

    Attributes:
        task: the run's main task: of those whose amount is known the outermost, such as training with the evaluations
            that are tasks within it; else the newest.
        measures: the newest value of each measure of training, and the step that it is of.
        best: the least validation loss and its step.
        checkpoint: folder of the newest checkpoint and its step.
        artefacts: what was made: kind and name.
        warnings: what the person should know.
        samples: how many answers of the model there are; ``sample`` is the newest.
        attempt: the number of the attempt.
    """

    task: Event | None = None
    measures: dict[str, tuple[float, int]] = field(default_factory=dict)
    best: tuple[float, int] | None = None
    checkpoint: tuple[str, int] | None = None
    artefacts: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    samples: int = 0
    sample: Event | None = None
    attempt: int = 0
    _trail: deque[tuple[float, float]] = field(default_factory=deque)

    def feed(self, events: Iterable[Event]) -> Digest:
        """Take events in; returns itself."""
        for event in events:
            self.add(event)
        return self

    def add(self, event: Event) -> None:
        """Take one event in."""
        match event.kind:
            case "started" | "progress" | "finished" | "failed":
                self._add_task(event)
            case "metric" if event.label == METRIC_LABEL:
                self._add_measures(event)
            case "checkpoint":
                self.checkpoint = (event.label, _whole(event, "step"))
            case "artefact":
                self.artefacts.append((str(event.values.get("kind")), event.label))
            case "sample":
                self.samples += 1
                self.sample = event
            case "log" if event.values.get("level") in ("warning", "error"):
                self.warnings.append(event.label)
            case "state":
                self.attempt = _whole(event, "attempt") or self.attempt
                if event.label == "running":
                    self.task = None
                    self._trail.clear()

    @property
    def share(self) -> float | None:
        """How much of the main task is done, between 0 and 1."""
        if self.task is None or not self.task.total or self.task.completed is None:
            return None
        return min(self.task.completed / self.task.total, 1.0)

    @property
    def per_second(self) -> float | None:
        """Units of the main task in a second, over the last minutes."""
        if len(self._trail) < 2:
            return None
        (start, before), (end, after) = self._trail[0], self._trail[-1]
        return (after - before) / (end - start) if end > start and after > before else None

    def seconds_left(self, now: float) -> float | None:
        """How much longer the main task takes at this speed; ``now`` is seconds since the epoch."""
        rate = self.per_second
        if rate is None or self.task is None or not self.task.total or self.task.kind in ("finished", "failed"):
            return None
        left = (self.task.total - (self.task.completed or 0.0)) / rate
        return max(left - max(now - self._trail[-1][0], 0.0), 0.0)

    def measure(self, name: str) -> float | None:
        """The newest value of a measure."""
        return self.measures[name][0] if name in self.measures else None

    def _add_task(self, event: Event) -> None:
        mine = self.task is not None and self.task.task == event.task
        if not mine:
            busy = self.task is not None and self.task.total and self.task.kind not in ("finished", "failed")
            if event.kind != "started" or busy:
                return
            self._trail.clear()
        self.task = event
        if event.completed is not None:
            self._trail.append((event.time, event.completed))
            while len(self._trail) > 2 and event.time - self._trail[1][0] > _WINDOW:
                self._trail.popleft()

    def _add_measures(self, event: Event) -> None:
        step = _whole(event, "step")
        for name, value in event.values.items():
            if name != "step" and not isinstance(value, str):
                self.measures[name] = (float(value), step)
        loss = event.values.get("eval_loss")
        if isinstance(loss, int | float) and math.isfinite(loss) and (self.best is None or loss < self.best[0]):
            self.best = (float(loss), step)


def _whole(event: Event, name: str) -> int:
    value = event.values.get(name, 0)
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else 0
