"""Gradients of all processes: their sum, their norm, their clipping.

With whole models in every process the gradients are summed once a step, after all micro-batches. Sharded gradients
(FSDP) are summed during the backward pass; here only their norm needs all processes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.distributed.tensor import DTensor

from llmasos.training.distributed.parts import local
from llmasos.training.distributed.processes import Processes
from llmasos.training.trainer.weights import Weights


def sum_over_processes(weights: Weights, processes: Processes) -> None:
    """Add the gradients of the masters over all processes, in place.

    A weight that has a gradient in some processes gets zeros in the others; one that has none anywhere stays without.
    """
    if processes.world == 1:
        return
    whole = [weight.master for weight in weights if not isinstance(weight.master, DTensor)]
    present = processes.sum_numbers([master.grad is not None for master in whole])
    gradients = []
    for master, count in zip(whole, present, strict=True):
        if count:
            if master.grad is None:
                master.grad = torch.zeros_like(master)
            gradients.append(master.grad)
    processes.sum_tensors(gradients)


def norm_of(weights: Weights, processes: Processes) -> float:
    """The 2-norm of all gradients together, each counted once however it is distributed."""
    whole, parts = _divided(weights.gradients())
    squares = _square_sum(whole)
    if parts or any(isinstance(weight.master, DTensor) for weight in weights):
        squares += processes.sum_numbers([_square_sum(parts)])[0]
    return math.sqrt(squares) if squares >= 0 else math.nan


def clip(weights: Weights, scale: float) -> None:
    """Multiply all gradients by ``scale`` in place."""
    whole, parts = _divided(weights.gradients())
    for gradients in (whole, parts):
        if gradients:
            torch._foreach_mul_(gradients, scale)


def _divided(gradients: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Whole gradients, and this process's parts of sharded ones."""
    whole = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
    return whole, [local(gradient) for gradient in gradients if isinstance(gradient, DTensor)]


def _square_sum(tensors: list[torch.Tensor]) -> float:
    if not tensors:
        return 0.0
    norms = torch._foreach_norm(tensors, dtype=torch.float32)
    return float(torch.stack(norms).double().square().sum())
