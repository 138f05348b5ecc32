"""Projections that the native kernels compute as one: stacked, interleaved, padded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmasos.engine.weights import Projection

if TYPE_CHECKING:
    import torch


def stack(*projections: Projection) -> Projection:
    """One projection whose columns are those of all, in their order."""
    import torch

    weight = torch.cat([item.weight for item in projections])
    if all(item.bias is None for item in projections):
        return Projection(weight)
    biases = [item.bias if item.bias is not None else torch.zeros(item.weight.shape[0]) for item in projections]
    return Projection(weight, torch.cat(biases))


def interleave(gate: Projection, up: Projection, intermediate: int) -> Projection:
    """Columns in groups of 16, gate and up in turn, so that one tile holds both halves of the gated product."""
    import torch

    def pad(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.shape[0] == intermediate:
            return tensor.view(intermediate // 16, 16, *tensor.shape[1:])
        padded = tensor.new_zeros(intermediate, *tensor.shape[1:])
        padded[: tensor.shape[0]] = tensor
        return padded.view(intermediate // 16, 16, *tensor.shape[1:])

    weight = torch.stack([pad(gate.weight), pad(up.weight)], 1).view(2 * intermediate, -1)
    if gate.bias is None and up.bias is None:
        return Projection(weight)
    zeros = torch.zeros(gate.weight.shape[0])
    biases = [pad(item.bias if item.bias is not None else zeros) for item in (gate, up)]
    return Projection(weight, torch.stack(biases, 1).view(-1))


def pad_depth(projection: Projection, depth: int) -> Projection:
    """The same projection of inputs that have zeros behind them."""
    import torch

    missing = depth - projection.weight.shape[1]
    return (
        Projection(torch.nn.functional.pad(projection.weight, (0, missing)), projection.bias) if missing else projection
    )
