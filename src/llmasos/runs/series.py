"""Curves of measures from the events of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmasos.progress import Event
from llmasos.runs.events import METRIC_LABEL

#: Measures that say where a run is; they are axes, not curves.
POSITIONS = ("step", "epoch", "tokens", "eta_seconds")


@dataclass(frozen=True, slots=True)
class Point:
    """A measure at a step; ``tokens`` are those read until then, if the run counts them."""

    step: int
    value: float
    tokens: float | None = None


def curves(events: Iterable[Event]) -> dict[str, list[Point]]:
    """The points of every measure by step, in the order in which measures first came up.

    Where a run went on from a checkpoint and did steps again, the later report counts. Measures of other series than
    that of training are called ``series/measure``.
    """
    found = Curves()
    found.feed(events)
    return found.points


class Curves:
    """As :func:`curves`, of a run that goes on.

    Args:
        most: about how many points of a measure are kept when there are too many, so that a long run takes no more
            memory than a short one; they look the same when drawn. Default: all.

    Attributes:
        points: by measure.
    """

    def __init__(self, most: int | None = None) -> None:
        self.points: dict[str, list[Point]] = {}
        self._most = most

    def feed(self, events: Iterable[Event]) -> None:
        """Take note of further events."""
        for event in events:
            step = event.values.get("step")
            if event.kind != "metric" or not isinstance(step, int | float) or not math.isfinite(step):
                continue
            tokens = event.values.get("tokens")
            read = float(tokens) if isinstance(tokens, int | float) else None
            for name, value in event.values.items():
                if name in POSITIONS or isinstance(value, str):
                    continue
                points = self.points.setdefault(name if event.label == METRIC_LABEL else f"{event.label}/{name}", [])
                while points and points[-1].step >= step:
                    points.pop()
                points.append(Point(int(step), float(value), read))
                if self._most is not None and len(points) > 2 * self._most:
                    points[:] = thinned(points, self._most)


def finite(points: Sequence[Point]) -> list[Point]:
    """The points whose value is a number; the others cannot be drawn."""
    return [point for point in points if math.isfinite(point.value)]


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most about ``most`` points that look the same when drawn: of each stretch its least and its greatest.

    Beside them one of a stretch that is no number, if there is any.
    """
    if len(points) <= most:
        return list(points)
    stretches = max(most // 2, 1)
    kept: list[Point] = []
    for number in range(stretches):
        stretch = points[number * len(points) // stretches : (number + 1) * len(points) // stretches]
        numbers = finite(stretch)
        chosen = [min(numbers, key=_value), max(numbers, key=_value)] if numbers else []
        chosen += [point for point in stretch if not math.isfinite(point.value)][:1]
        kept += sorted({id(point): point for point in chosen}.values(), key=lambda point: point.step)
    if kept[0] is not points[0]:
        kept.insert(0, points[0])
    if kept[-1] is not points[-1]:
        kept.append(points[-1])
    return kept


def _value(point: Point) -> float:
    return point.value
