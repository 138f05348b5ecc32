"""AdamW whose two states take one byte a weight each (Dettmers et al. 2022); on any device, plain PyTorch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from llmasos.training.optimizers.blockwise import dequantize, quantize

SMALLEST = 4096
"""Tensors with fewer numbers keep float32 states: they cost little, and biases and normalisations are sensitive."""


class AdamW8bit(torch.optim.Optimizer):
    """AdamW with states in 8 bits, quantised block by block.

    Args:
        parameters: tensors or groups, as for the optimisers of torch; a group may set its own ``weight_decay``.
        lr: learning rate.
        betas: decays of the means of gradients and of squared gradients.
        eps: added to the denominator.
        weight_decay: decoupled weight decay.
    """

    def __init__(
        self,
        parameters: Iterable[torch.Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closures
        """Change the weights that have a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group)

    def _update(self, weight: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        exact = torch.promote_types(weight.dtype, torch.float32)  # of the states, also where weights are in bfloat16
        gradient = gradient.to(exact)
        small = weight.numel() < SMALLEST
        if not state:
            state["step"] = 0
            for name, signed in (("mean", True), ("squares", False)):
                zeros = torch.zeros_like(weight, dtype=exact)
                if small:
                    state[name] = zeros
                else:
                    state[name], state[f"{name}_scales"] = quantize(zeros, signed=signed)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        if small:
            mean, squares = state["mean"], state["squares"]
        else:
            mean = dequantize(state["mean"], state["mean_scales"], signed=True)
            squares = dequantize(state["squares"], state["squares_scales"], signed=False)
        mean.lerp_(gradient, 1 - beta1)
        squares.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        unbias1, unbias2 = 1 - beta1 ** state["step"], 1 - beta2 ** state["step"]
        denominator = squares.sqrt().div_(math.sqrt(unbias2)).add_(group["eps"])
        weight.add_((mean / denominator).mul_(-group["lr"] / unbias1))
        if not small:
            state["mean"], state["mean_scales"] = quantize(mean, signed=True)
            state["squares"], state["squares_scales"] = quantize(squares, signed=False)
