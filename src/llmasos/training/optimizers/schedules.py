"""Learning-rate schedules: pure functions of the step, so that nothing about them has to be saved."""

from __future__ import annotations

import math
from typing import assert_never

from llmasos.training.recipe.optimizers import (
    Constant,
    Cosine,
    InverseSquareRoot,
    Linear,
    Schedule,
    WarmupStableDecay,
)


def warmup_steps(schedule: Schedule, steps: int) -> int:
    """Steps of warm-up in a run of ``steps``: a share of them below 1, rounded up, else a number."""
    if schedule.warmup < 1:
        return math.ceil(schedule.warmup * steps)
    return min(int(schedule.warmup), steps)


def factor(schedule: Schedule, step: int, steps: int) -> float:
    """The learning rate of a step as a share of the highest.

    The rate rises linearly in ``w`` steps of warm-up, of which the last has the highest rate; no step has the rate 0
    unless the schedule is at its end. A schedule with ``final`` would reach that one step after the last.

    Args:
        step: number of the optimiser step, from 1 to ``steps``.
        steps: all steps of the run.
    """
    assert 1 <= step <= steps, (step, steps)
    warmup = warmup_steps(schedule, steps)
    if step <= warmup:
        return step / warmup
    done = (step - 1 - warmup) / (steps - warmup)  # 0 in the first step after warm-up, below 1 in the last
    match schedule:
        case Constant():
            return 1.0
        case Linear(final=final):
            return 1 - (1 - final) * done
        case Cosine(final=final):
            return final + (1 - final) * (1 + math.cos(math.pi * done)) / 2
        case WarmupStableDecay(final=final):
            first = min(max(steps - round(schedule.decay * steps), warmup), steps - 1)  # steps before the decay
            return 1 - (1 - final) * max(step - 1 - first, 0) / (steps - first)
        case InverseSquareRoot():
            return math.sqrt(max(warmup, 1) / step)
        case _:
            assert_never(schedule)
