"""Gradient descent with momentum and decoupled weight decay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from llmasos.training.distributed.parts import local


class Sgd(torch.optim.SGD):
    """PyTorch's SGD, with weight decay apart from the gradient (SGDW, Loshchilov and Hutter 2019): a weight shrinks by
    ``lr * weight_decay`` of itself, whatever the momentum.

    Args:
        parameters: tensors or groups, as for the optimisers of torch; a group may set its own ``decay``.
        lr: learning rate.
        decay: the decoupled weight decay.
    """

    def __init__(
        self,
        parameters: Iterable[torch.Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        *,
        momentum: float = 0.9,
        nesterov: bool = False,
        decay: float = 0.0,
    ) -> None:
        groups = [
            {"decay": decay, **group} if isinstance(group, dict) else {"params": [group], "decay": decay}
            for group in parameters
        ]
        super().__init__(groups, lr=lr, momentum=momentum, nesterov=nesterov)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closures
        """Change the weights that have a gradient."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights and group["decay"]:
                torch._foreach_mul_([local(weight) for weight in weights], 1 - group["lr"] * group["decay"])
        super().step()
