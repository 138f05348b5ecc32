"""Adafactor with the learning rate as given (Shazeer and Stern, "Adafactor: Adaptive Learning Rates with Sublinear
Memory Cost", 2018).

The paper multiplies the rate by the size of the weights. Here it is absolute, as in PaLM (Chowdhery et al. 2022), so
that the rates known for AdamW are of the right size; PyTorch's own Adafactor always multiplies.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

_DECAY_POWER = -0.8  # of the decay of squared gradients: 1 - step ** power, section 7.2 of the paper
_EPSILON = 1e-30


class Adafactor(torch.optim.Optimizer):
    """Keeps means of squared gradients over rows and over columns of a matrix: R + C numbers instead of R * C.

    Args:
        parameters: tensors or groups, as for the optimisers of torch; a group may set its own ``weight_decay``.
        lr: learning rate.
        clip_threshold: most root mean square of an update, before the learning rate.
        weight_decay: decoupled weight decay.
    """

    def __init__(
        self,
        parameters: Iterable[torch.Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        *,
        clip_threshold: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "clip_threshold": clip_threshold, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closures
        """Change the weights that have a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group)

    def _update(self, weight: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = 0
            if weight.dim() >= 2:
                state["rows"] = weight.new_zeros(weight.shape[:-1])
                state["columns"] = weight.new_zeros(weight.shape[:-2] + weight.shape[-1:])
            else:
                state["squares"] = torch.zeros_like(weight)
        state["step"] += 1
        share = state["step"] ** _DECAY_POWER  # of the new squares in the mean
        squares = gradient.square().add_(_EPSILON)
        if weight.dim() >= 2:
            rows = state["rows"].lerp_(squares.mean(dim=-1), share)
            columns = state["columns"].lerp_(squares.mean(dim=-2), share)
            update = gradient * (rows / rows.mean(dim=-1, keepdim=True)).rsqrt().unsqueeze(-1)
            update.mul_(columns.unsqueeze(-2).rsqrt())
        else:
            update = gradient * state["squares"].lerp_(squares, share).rsqrt()
        size = update.square().mean().sqrt_()
        update.div_((size / group["clip_threshold"]).clamp_(min=1.0))
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.sub_(update, alpha=group["lr"])
