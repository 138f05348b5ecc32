"""An exponential moving average of the weights (Polyak and Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from llmasos.training.trainer.weights import Weights


class MovingAverage:
    """Averages in full precision.

    In the first steps the decay is smaller, ``(1 + step) / (10 + step)``, so that random or old weights do not stay in
    the average of a short run.

    Args:
        weights: what is averaged; the average begins at their values.
        decay: weight of the past in each step.
    """

    def __init__(self, weights: Weights, decay: float) -> None:
        self._decay = decay
        self._weights = weights
        self.values = {name: master.detach().clone() for name, master in weights.masters().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights after ``step`` steps into the average."""
        decay = min(self._decay, (1 + step) / (10 + step))
        masters = self._weights.masters()
        torch._foreach_lerp_(list(self.values.values()), [masters[name] for name in self.values], 1 - decay)

    @torch.no_grad()
    def load(self, values: Mapping[str, torch.Tensor]) -> None:
        """Take over saved averages, one for every weight by name."""
        for name, average in self.values.items():
            average.copy_(values[name])
