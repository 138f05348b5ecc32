"""Which evaluation was the best, and whether it is time to stop."""

from __future__ import annotations

import math
from dataclasses import dataclass

from llmasos.errors import IntegrityError
from llmasos.training.recipe.trainer import EarlyStopping


@dataclass
class Best:
    """The best value of a measure so far.

    Attributes:
        higher_is_better: for this measure.
        early_stopping: when to stop; ``None``: never.
        step: the step of the best evaluation after training began; ``None`` before there is one.
        value: what the measure was then.
        waited: evaluations since the last improvement by more than ``early_stopping.minimum_change``.
    """

    higher_is_better: bool
    early_stopping: EarlyStopping | None = None
    step: int | None = None
    value: float | None = None
    reference: float | None = None
    waited: int = 0

    def add(self, step: int, value: float) -> bool:
        """Take an evaluation into account; whether it is the best. NaN never is."""
        is_best = self._gain(value, self.value) > 0
        minimum = self.early_stopping.minimum_change if self.early_stopping else 0.0
        if self._gain(value, self.reference) > minimum:
            self.reference, self.waited = value, 0
        else:
            self.waited += 1
        if is_best:
            self.step, self.value = step, value
        return is_best

    @property
    def should_stop(self) -> bool:
        """Whether patience has run out."""
        return self.early_stopping is not None and self.waited >= self.early_stopping.patience

    def state(self) -> dict[str, float | int | None]:
        """What :meth:`load` takes."""
        return {"step": self.step, "value": self.value, "reference": self.reference, "waited": self.waited}

    def load(self, state: dict[str, float | int | None]) -> None:
        """Go on from a saved state.

        Raises:
            IntegrityError: it is none.
        """
        step, waited = state.get("step"), state.get("waited")
        if not (step is None or isinstance(step, int)) or not isinstance(waited, int):
            raise IntegrityError(f"not a state of evaluations: {state!r}")
        self.step, self.value, self.reference, self.waited = step, state.get("value"), state.get("reference"), waited

    def _gain(self, value: float, before: float | None) -> float:
        """By how much a value is better; infinite where there is none before, not a number for NaN."""
        if before is None:
            return math.nan if math.isnan(value) else math.inf
        return value - before if self.higher_is_better else before - value
