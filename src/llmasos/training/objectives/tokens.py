"""What the objectives of models that write have in common: cross entropy at the places of learned tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Generic, TypeVar

from torch import Tensor, nn

from llmasos.training.objectives.network import Traits, head_of
from llmasos.training.objectives.objective import LossSum, Sums, Unit
from llmasos.training.objectives.token_loss import (
    HIGHER_IS_BETTER,
    logits_loss,
    token_loss,
    token_summary,
    token_sums,
)

_Batch = TypeVar("_Batch")


class TokenObjective(ABC, Generic[_Batch]):
    """The cross entropy of learned tokens; the head runs at their places only, some of them at a time.

    Args:
        traits: of the module; see :func:`~llmasos.training.objectives.network.find_traits`.
        chunk: positions whose logits are in memory at once.
    """

    unit: Unit = "tokens"
    higher_is_better: Mapping[str, bool] = HIGHER_IS_BETTER

    def __init__(self, traits: Traits, *, chunk: int = 1024, label_smoothing: float = 0.0) -> None:
        self._traits = traits
        self._chunk = chunk
        self._smoothing = label_smoothing

    @abstractmethod
    def count(self, batch: _Batch) -> int:
        """The learned tokens."""

    @abstractmethod
    def _computed(self, module: nn.Module, batch: _Batch, *, logits: bool) -> tuple[Tensor, Tensor]:
        """(N, width) states that predict learned tokens, or (N, vocab) logits of the module itself; and the tokens."""

    def loss(self, module: nn.Module, batch: _Batch) -> LossSum:
        head = head_of(module, self._traits)
        found, targets = self._computed(module, batch, logits=head is None)
        if head is None:
            total = logits_loss(found, targets, label_smoothing=self._smoothing)
        else:
            total = token_loss(found, head, targets, chunk=self._chunk, label_smoothing=self._smoothing)
        return LossSum(total, len(targets))

    def measure(self, module: nn.Module, batch: _Batch) -> Sums:
        head = head_of(module, self._traits)
        found, targets = self._computed(module, batch, logits=head is None)
        if head is None:
            return token_sums(found, targets)
        sums = {"loss": 0.0, "tokens": 0.0, "right": 0.0}
        for start in range(0, len(targets), self._chunk):
            part = slice(start, start + self._chunk)
            added = token_sums(head.transform(head.function(found[part])), targets[part])
            sums = {name: value + added[name] for name, value in sums.items()}
        return sums

    def summarise(self, sums: Sums) -> dict[str, float]:
        return token_summary(sums)
