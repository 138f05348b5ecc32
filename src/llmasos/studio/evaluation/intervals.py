"""Scores as pictures: a mark on a band between common ends."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from nicegui import ui

from llmasos.evaluation.reports.rows import figure, interval
from llmasos.evaluation.result import ScoreEntry


@dataclass(frozen=True)
class Scale:
    """What a picture's left and right end stand for."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Where a value stands, in percent of the width."""
        if self.high <= self.low or not math.isfinite(value):
            return 0.0
        return min(max(100 * (value - self.low) / (self.high - self.low), 0.0), 100.0)


def scale_of(entries: Iterable[ScoreEntry]) -> Scale:
    """Ends that hold all intervals: 0 and 1 for shares, else what there is with a little room."""
    values = [
        value
        for entry in entries
        for value in (entry.value, entry.low, entry.high)
        if value is not None and math.isfinite(value)
    ]
    if not values or (min(values) >= 0 and max(values) <= 1):
        return Scale(0.0, 1.0)
    room = 0.05 * (max(values) - min(values)) or 1.0
    return Scale(min(values) - room, max(values) + room)


def draw(entry: ScoreEntry, scale: Scale) -> None:
    """The picture; its text is what a screen reader says."""
    told = f"{figure(entry.value)} {interval(entry)}".strip()
    with ui.element("div").classes("interval").props(f'role=img aria-label="{told}"'):
        if entry.low is not None and entry.high is not None:
            left, right = scale.place(entry.low), scale.place(entry.high)
            ui.element("div").classes("band").style(f"left: {left:.2f}%; width: {max(right - left, 0.5):.2f}%")
        if math.isfinite(entry.value):
            ui.element("div").classes("mark-line").style(f"left: {scale.place(entry.value):.2f}%")
