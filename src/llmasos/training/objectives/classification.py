"""Classification of texts and of pairs of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from llmasos.data.batches import IGNORED
from llmasos.training.batches import ClassBatch
from llmasos.training.objectives.network import Traits
from llmasos.training.objectives.objective import LossSum, Sums, Unit
from llmasos.training.objectives.scores import Way, scores_of


class ClassificationObjective:
    """The cross entropy of each text's class.

    Args:
        way: how the head is called; see :func:`~llmasos.training.objectives.scores.find_way`.
        weights: of the classes in the loss; ``None``: 1 each. The loss of a step is divided by its samples, not by
            their weights, so that it does not depend on how they are divided.
    """

    unit: Unit = "samples"
    higher_is_better: Mapping[str, bool] = {"loss": False, "accuracy": True, "f1_macro": True}

    def __init__(
        self,
        traits: Traits,
        way: Way | None,
        *,
        classes: int,
        weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        self._traits = traits
        self._way = way
        self._classes = classes
        self._weights = None if weights is None else torch.tensor(weights, dtype=torch.float32)
        self._smoothing = label_smoothing

    def count(self, batch: ClassBatch) -> int:
        return int(np.count_nonzero(batch.classes != IGNORED))

    def loss(self, module: nn.Module, batch: ClassBatch) -> LossSum:
        total, logits, classes = self._computed(module, batch)
        right = float((logits.argmax(-1) == classes).sum())
        count = self.count(batch)
        return LossSum(total, count, {"accuracy": (right, float(count))})

    def measure(self, module: nn.Module, batch: ClassBatch) -> Sums:
        total, logits, classes = self._computed(module, batch)
        counted = classes != IGNORED
        pairs = classes[counted] * self._classes + logits.argmax(-1)[counted]
        cells = torch.bincount(pairs, minlength=self._classes**2).tolist()
        sums = {f"is {cell // self._classes} said {cell % self._classes}": float(n) for cell, n in enumerate(cells)}
        return {"loss": float(total), "samples": float(counted.sum()), **sums}

    def summarise(self, sums: Sums) -> dict[str, float]:
        """``loss``, ``accuracy`` and ``f1_macro``, the mean over all classes; a class that neither is nor was said
        anywhere counts 0, as in scikit-learn."""
        size = self._classes
        table = np.array([[sums.get(f"is {i} said {j}", 0.0) for j in range(size)] for i in range(size)])
        right = np.diag(table)
        said_or_is = table.sum(0) + table.sum(1)
        f1 = np.divide(2 * right, said_or_is, out=np.zeros(size), where=said_or_is > 0)
        count = max(sums.get("samples", 0.0), 1.0)
        return {
            "loss": sums.get("loss", 0.0) / count,
            "accuracy": float(right.sum()) / count,
            "f1_macro": float(f1.mean()),
        }

    def _computed(self, module: nn.Module, batch: ClassBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        logits = scores_of(module, batch.text, self._traits, self._way)
        exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
        classes = torch.from_numpy(batch.classes).to(logits.device)
        weights = None if self._weights is None else self._weights.to(exact)
        total = functional.cross_entropy(
            exact, classes, weight=weights, reduction="sum", ignore_index=IGNORED, label_smoothing=self._smoothing
        )
        return total, exact, classes


def class_weights(kind: str | Mapping[str, float], labels: Sequence[str], counts: Sequence[int]) -> list[float] | None:
    """The weights of the classes that a recipe means; ``None``: all the same.

    ``balanced`` gives each class the same weight in all: samples / (classes * samples of the class).

    Args:
        labels: names of the classes in order, ``counts`` their training samples.
    """
    if kind == "none":
        return None
    if isinstance(kind, str):
        return [sum(counts) / (len(counts) * count) for count in counts]
    return [float(kind.get(label, 1.0)) for label in labels]
