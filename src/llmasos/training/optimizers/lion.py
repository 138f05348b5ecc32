"""Lion: the sign of an interpolated momentum (Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from llmasos.training.distributed.parts import local


class Lion(torch.optim.Optimizer):
    """One state per weight, against two of AdamW; every weight moves by the learning rate in each step.

    Args:
        parameters: tensors or groups, as for the optimisers of torch; a group may set its own ``weight_decay``.
        lr: learning rate.
        beta1: weight of the momentum in an update.
        beta2: decay of the momentum.
        weight_decay: decoupled weight decay.
    """

    def __init__(
        self,
        parameters: Iterable[torch.Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-4,
        *,
        beta1: float = 0.9,
        beta2: float = 0.99,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "beta1": beta1, "beta2": beta2, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closures
        """Change the weights that have a gradient."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not weights:
                continue
            gradients = [local(weight.grad) for weight in weights]
            for weight in weights:
                if not self.state[weight]:
                    self.state[weight]["momentum"] = torch.zeros_like(weight)
            momenta = [local(self.state[weight]["momentum"]) for weight in weights]
            weights = [local(weight) for weight in weights]
            updates = torch._foreach_lerp(gradients, momenta, group["beta1"])
            torch._foreach_sign_(updates)
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(weights, updates, alpha=-group["lr"])
            torch._foreach_lerp_(momenta, gradients, 1 - group["beta2"])
