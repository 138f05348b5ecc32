"""What is drawn, whoever draws it: panels of lines, with axes that people can read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from llmasos.errors import InvalidRequest, did_you_mean
from llmasos.i18n import t, translate
from llmasos.runs.events import METRICS
from llmasos.runs.series import Point, finite, thinned

XAxis = Literal["step", "tokens"]

_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")

#: Measures that are drawn in one panel, because to compare them is the point.
_TOGETHER = (("loss", "eval_loss"),)


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        label: what the legend says.
        run: number of the run, which gives the colour.
        dashed: a second measure of the same run in this panel.
        points: (x, y), by x; all finite.
        skipped: values that are not numbers and are not drawn.
    """

    label: str
    run: int
    dashed: bool
    points: tuple[tuple[float, float], ...]
    skipped: int = 0


@dataclass(frozen=True)
class Panel:
    """Curves with common axes."""

    title: str
    unit: str
    x_title: str
    lines: tuple[Line, ...]

    @property
    def x_range(self) -> tuple[float, float]:
        """The least and the greatest x."""
        return _range([x for line in self.lines for x, _ in line.points], room=0.0)

    @property
    def y_range(self) -> tuple[float, float]:
        """The least and the greatest y, with a little room."""
        return _range([y for line in self.lines for _, y in line.points], room=0.04)


def panels(
    runs: Sequence[tuple[str, Mapping[str, Sequence[Point]]]],
    *,
    metrics: Sequence[str] = (),
    x: XAxis = "step",
    most: int | None = None,
) -> list[Panel]:
    """The panels for some runs.

    Args:
        runs: what each is called, and its curves.
        metrics: which measures; default: all.
        x: what the x axis counts.
        most: points of a line; of more, those are left out that nobody would see.

    Raises:
        InvalidRequest: no run has such a measure, or nothing at all can be drawn.
    """
    known = list(dict.fromkeys(name for _, curves in runs for name in curves))
    if not known:
        raise InvalidRequest(
            t("there is nothing to draw: no measure has been reported"),
            hint=t("Training reports its loss every few steps; wait for the first."),
        )
    for name in metrics:
        if name not in known:
            raise InvalidRequest(
                t("no measure is called {name!r}", name=name),
                hint=did_you_mean(name, known) or t("Measures are: {names}.", names=", ".join(known)),
            )
    found = []
    for group in _groups(metrics or _ordered(known)):
        lines = []
        for number, (run, curves) in enumerate(runs):
            for name in group:
                pairs = _pairs(curves.get(name, ()), x, most)
                if pairs:
                    parts = [run] if len(runs) > 1 else []
                    if len(group) > 1 or not parts:
                        parts.append(measure_title(name))
                    skipped = len(curves[name]) - len(finite(curves[name]))
                    lines.append(Line(" · ".join(parts), number, name != group[0], pairs, skipped))
        if lines:
            found.append(_in_large_units(Panel(_title(group), _unit(group[0]), axis_title(x), tuple(lines))))
    if not found:
        raise InvalidRequest(
            t("there is nothing to draw: no value is a number"),
            hint=t("With --x tokens, runs that do not count tokens cannot be drawn."),
        )
    return found


def axis_title(x: XAxis) -> str:
    """What the x axis says."""
    return t("step") if x == "step" else t("tokens")


def measure_title(name: str) -> str:
    """What people call a measure."""
    return translate(METRICS[name].description) if name in METRICS else name


def _ordered(names: Sequence[str]) -> list[str]:
    """Known measures first, in the order of their table; then the others."""
    return [*(name for name in METRICS if name in names), *(name for name in names if name not in METRICS)]


def _groups(names: Sequence[str]) -> list[tuple[str, ...]]:
    groups: list[tuple[str, ...]] = []
    for name in names:
        if any(name in group for group in groups):
            continue
        together = next((group for group in _TOGETHER if name in group), (name,))
        groups.append(tuple(item for item in together if item in names))
    return groups


def _title(group: Sequence[str]) -> str:
    return t("Loss") if len(group) > 1 else measure_title(group[0])


def _unit(name: str) -> str:
    return METRICS[name].unit if name in METRICS else ""


def _pairs(points: Sequence[Point], x: XAxis, most: int | None) -> tuple[tuple[float, float], ...]:
    shown = finite(points) if most is None else thinned(finite(points), most)
    if x == "step":
        return tuple((float(point.step), point.value) for point in shown)
    return tuple((point.tokens, point.value) for point in shown if point.tokens is not None)


def _in_large_units(panel: Panel) -> Panel:
    """A panel of bytes in the unit that its greatest value is told in, so that the axis has round numbers."""
    if panel.unit != "B":
        return panel
    power = min(int(math.log(max(panel.y_range[1], 1.0), 1024)), len(_BYTES) - 1)
    lines = tuple(replace(line, points=tuple((x, y / 1024**power) for x, y in line.points)) for line in panel.lines)
    return replace(panel, unit=_BYTES[power], lines=lines)


def _range(values: Sequence[float], *, room: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        pad = abs(low) * 0.1 or 1.0
        return low - pad, high + pad
    return low - (high - low) * room, high + (high - low) * room


def ticks(low: float, high: float, count: int) -> list[float]:
    """About ``count`` round numbers between two others (1, 2 or 5 times a power of ten apart)."""
    step = _nice((high - low) / max(count, 1))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _nice(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    share = rough / power
    return power * (1 if share <= 1 else 2 if share <= 2 else 5 if share <= 5 else 10)


def tick_text(value: float) -> str:
    """A number on an axis, short."""
    size = abs(value)
    if size >= 1e9:
        return f"{value / 1e9:.4g}B"
    if size >= 1e6:
        return f"{value / 1e6:.4g}M"
    if size >= 1e4:
        return f"{value / 1e3:.4g}K"
    if size != 0 and size < 1e-3:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:.4g}"
