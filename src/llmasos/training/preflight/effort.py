"""How long a run takes and how much it writes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from llmasos.library.disk import free_bytes
from llmasos.training.methods.applied import Applied
from llmasos.training.preflight.memory import TrainedNumbers, state_bytes
from llmasos.training.preflight.report import DataFacts, DiskFacts, TimeFacts
from llmasos.training.recipe.kinds import TrainingRecipe
from llmasos.training.trainer.loop import total_steps
from llmasos.training.trainer.precision import Precision

_FORWARD = 1 / 3
"""Time of a forward pass as a share of a whole step."""


def steps_of(recipe: TrainingRecipe, data: DataFacts) -> int | None:
    """Optimiser steps of a run; ``None`` if they depend on rows that were not counted."""
    if data.sequences is None:
        return recipe.trainer.steps
    return total_steps(recipe, max(math.ceil(data.sequences / recipe.trainer.batch_size), 1))


def tokens_per_step(recipe: TrainingRecipe, data: DataFacts) -> float:
    """Real tokens of an optimiser step."""
    size = recipe.trainer.batch_size if data.sequences is None else min(recipe.trainer.batch_size, data.sequences)
    return size * data.tokens_per_sequence


def expected_time(
    recipe: TrainingRecipe,
    data: DataFacts,
    *,
    micro_batch_size: int,
    speed: float,
    measured_memory: int | None = None,
    measured: bool = False,
) -> TimeFacts:
    """The time of a run at a speed in real tokens a second."""
    steps = steps_of(recipe, data)
    each = tokens_per_step(recipe, data)
    seconds: float | None = None
    if steps is not None:
        seconds = steps * each / speed
        if data.validation_rows:
            evaluations = _evaluations(recipe, steps)
            tokens = data.validation_rows * data.tokens / max(data.looked_at, 1)
            seconds += evaluations * tokens * _FORWARD / speed
    return TimeFacts(steps, micro_batch_size, each, speed, seconds, measured, measured_memory)


def _evaluations(recipe: TrainingRecipe, steps: int) -> int:
    every = recipe.evaluation.every or max(steps // 10, 1)
    return steps // every + int(steps % every > 0) + int(recipe.evaluation.at_start)


def disk_facts(recipe: TrainingRecipe, applied: Applied, precision: Precision, folder: Path) -> DiskFacts:
    """What checkpoints and result take.

    A checkpoint is written before the oldest is removed, so that one more than those kept is there for a moment.

    Args:
        folder: where runs are kept.
    """
    numbers = TrainedNumbers.of(weight for _, weight in applied.parameters())
    width = 4 if precision.copies is not None else max(
        (weight.element_size() for _, weight in applied.parameters()), default=4)  # fmt: skip
    checkpoint = (
        width * numbers.all
        + state_bytes(recipe.optimizer, numbers, width)
        + (4 * numbers.all if recipe.trainer.ema is not None else 0)
    )
    kept = recipe.checkpoints.keep_last + int(recipe.checkpoints.keep_best)
    module: Any = applied.module
    whole = applied.artefact == "model" or recipe.output.merge
    result = 0
    if whole:
        result += sum(weight.numel() for weight in {id(w): w for w in module.parameters()}.values()) * 4
    if applied.artefact == "adapter":
        result += 4 * numbers.all
    # The result stands in the folder of the run and again in the library.
    return DiskFacts(checkpoint, checkpoint * (kept + 1), 2 * result, free_bytes(folder))
