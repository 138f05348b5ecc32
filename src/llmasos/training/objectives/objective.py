"""What all objectives have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

Sums = Mapping[str, float]
"""Numbers that can be added over batches and processes; the names are the same for every batch of an objective."""
Unit = Literal["tokens", "samples", "pairs"]


@dataclass(frozen=True)
class LossSum:
    """The loss of one batch, not yet divided.

    The loss of several batches is ``sum(total) / sum(count)``, whatever the sizes of the batches and wherever they
    were computed; so the gradient of a step does not depend on how its sequences are divided.

    Attributes:
        total: () float32 or float64, the sum over ``count`` units, with its graph; zero if there are none.
        count: units: supervised tokens, samples, or pairs.
        metrics: further measures by name as (numerator, denominator), to be added in the same way.
    """

    total: Tensor
    count: int
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)


class Objective(Protocol):
    """A task as the training loop sees it.

    Attributes:
        unit: what :attr:`LossSum.count` counts.
        higher_is_better: whether more is better, for each measure that :meth:`summarise` gives.
    """

    unit: Unit
    higher_is_better: Mapping[str, bool]

    def loss(self, module: nn.Module, batch: Any) -> LossSum:
        """The loss of a batch of :mod:`llmasos.training.batches`, in the mode in which the module is.

        The batch holds numpy arrays; tensors are made on the device of the module.
        """
        ...

    def count(self, batch: Any) -> int:
        """What :meth:`loss` would count, without computing anything."""
        ...

    def measure(self, module: nn.Module, batch: Any) -> Sums:
        """What is measured on a validation batch, without gradients. The caller puts the module into eval mode."""
        ...

    def summarise(self, sums: Sums) -> dict[str, float]:
        """Measures of all batches from their added sums: ``loss``, ``perplexity``, ``accuracy``, ``f1_macro``, ..."""
        ...


def evaluate(objective: Objective, module: nn.Module, batches: Iterable[Any]) -> dict[str, float]:
    """The measures of a validation set; the module is in eval mode meanwhile."""
    was_training = module.training
    module.eval()
    sums: Counter[str] = Counter()
    try:
        with torch.inference_mode():
            for batch in batches:
                sums.update(objective.measure(module, batch))
    finally:
        module.train(was_training)
    return objective.summarise(sums)


class LossModule(nn.Module):
    """A model and its objective as one module, for wrappers that must see one forward call: DDP, FSDP, torch.compile.

    Its forward takes a batch and returns the tensor of :class:`LossSum`; the names of weights begin with ``model.``.
    """

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Any) -> Tensor:
        """() the summed loss."""
        return self.objective.loss(self.model, batch).total


def device_of(module: nn.Module) -> torch.device:
    """Where the weights of a module are."""
    return next(module.parameters()).device
