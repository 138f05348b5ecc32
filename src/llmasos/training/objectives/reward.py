"""Reward models: the better of two answers gets the higher score."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from llmasos.data.batches import Batch
from llmasos.training.batches import PairBatch
from llmasos.training.objectives.network import Traits
from llmasos.training.objectives.objective import LossSum, Sums, Unit
from llmasos.training.objectives.scores import Way, scores_of


class RewardObjective:
    """The model of Bradley and Terry (1952): ``-log sigmoid(chosen - rejected - margin)`` for each pair (Ouyang et al.
    2022; the margin as in Llama 2, Touvron et al. 2023), and ``center * (chosen + rejected)^2``, which keeps rewards
    near zero (Eisenstein et al. 2023).

    Args:
        way: how the head is called; see :func:`~llmasos.training.objectives.scores.find_way`.
    """

    unit: Unit = "pairs"
    higher_is_better: Mapping[str, bool] = {"loss": False, "accuracy": True, "margin": True}

    def __init__(self, traits: Traits, way: Way | None, *, margin: float = 0.0, center: float = 0.0) -> None:
        self._traits = traits
        self._way = way
        self._margin = margin
        self._center = center

    def count(self, batch: PairBatch) -> int:
        return int(np.count_nonzero(batch.counted))

    def loss(self, module: nn.Module, batch: PairBatch) -> LossSum:
        chosen, rejected = self._rewards(module, batch)
        counted = torch.from_numpy(batch.counted).to(chosen.device)
        losses = -functional.logsigmoid(chosen - rejected - self._margin)
        if self._center:
            losses = losses + self._center * (chosen + rejected).square()
        total = torch.where(counted, losses, 0.0).sum()
        difference = (chosen - rejected).detach()[counted]
        count = self.count(batch)
        metrics = {
            "accuracy": (float((difference > 0).sum()), float(count)),
            "margin": (float(difference.sum()), float(count)),
        }
        return LossSum(total, count, metrics)

    def measure(self, module: nn.Module, batch: PairBatch) -> Sums:
        found = self.loss(module, batch)
        sums = {name: numerator for name, (numerator, _) in found.metrics.items()}
        return {"loss": float(found.total), "pairs": float(found.count), **sums}

    def summarise(self, sums: Sums) -> dict[str, float]:
        """``loss``, ``accuracy`` (the share of pairs whose chosen answer wins) and ``margin``, by how much."""
        count = max(sums.get("pairs", 0.0), 1.0)
        return {name: sums.get(name, 0.0) / count for name in self.higher_is_better}

    def _rewards(self, module: nn.Module, batch: PairBatch) -> tuple[Tensor, Tensor]:
        chosen, rejected = (self._scores(module, part) for part in (batch.chosen, batch.rejected))
        return chosen, rejected

    def _scores(self, module: nn.Module, texts: Batch) -> Tensor:
        scores = scores_of(module, texts, self._traits, self._way)[:, 0]
        return scores.to(torch.promote_types(scores.dtype, torch.float32))
