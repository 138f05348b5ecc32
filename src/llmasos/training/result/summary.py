"""What the library keeps of a run beside its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmasos.library.metadata import LineageInput


@dataclass(frozen=True)
class RunSummary:
    """How a run went.

    Attributes:
        run: its id.
        steps: optimiser steps done, of ``total_steps``.
        tokens: real tokens read in them, without padding.
        seconds: time spent training.
        before: scores before the first step, by measure; empty if they were not asked for.
        after: scores of the weights that are the result.
        best_step: the step that they are of, if it is not the last.
        losses: (step, training loss) as they were logged.
        scores: the measures of each evaluation, by step.
        inputs: the data by their digests.
        rows: rows of each set, by its name.
        device: what computed, ``precision`` in which number format.
    """

    run: str
    steps: int
    total_steps: int
    tokens: int
    seconds: float
    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)
    best_step: int | None = None
    losses: Sequence[tuple[int, float]] = ()
    scores: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    inputs: Sequence[LineageInput] = ()
    rows: Mapping[str, int] = field(default_factory=dict)
    device: str = "cpu"
    precision: str = "float32"

    def document(self) -> dict[str, Any]:
        """Everything as JSON has it, for programs."""
        return {
            "run": self.run,
            "steps": self.steps,
            "total_steps": self.total_steps,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "before": dict(self.before),
            "after": dict(self.after),
            "best_step": self.best_step,
            "losses": [list(item) for item in self.losses],
            "scores": {str(step): dict(scores) for step, scores in self.scores.items()},
            "rows": dict(self.rows),
            "device": self.device,
            "precision": self.precision,
        }


def curve(summary: RunSummary, *, most: int = 12) -> list[tuple[int, float | None, Mapping[str, float]]]:
    """At most ``most`` points of the curves: (step, mean training loss since the point before, measures).

    Points are the evaluations, the first and the last among them; without evaluations steps at equal distances.
    """
    steps = sorted(summary.scores) or [step for step, _ in summary.losses]
    if len(steps) > most:
        steps = [steps[round(place * (len(steps) - 1) / (most - 1))] for place in range(most)]
    points = []
    before = -1
    for step in steps:
        since = [loss for at, loss in summary.losses if before < at <= step]
        points.append((step, sum(since) / len(since) if since else None, summary.scores.get(step, {})))
        before = step
    return points
