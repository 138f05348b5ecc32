"""Tensors of which every process has a part: taken apart and put together."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.distributed.tensor import DTensor, distribute_tensor


def local(tensor: torch.Tensor) -> torch.Tensor:
    """This process's part of a tensor, in place; the tensor itself if it is whole."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors, whole. All processes must call it."""
    return {name: tensor.full_tensor() if isinstance(tensor, DTensor) else tensor for name, tensor in tensors.items()}


def scattered(tensors: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """This process's parts of whole tensors.

    Args:
        tensors: by the name of a weight, or as ``name of weight/name of state``.
        weights: decide how tensors of their shape are divided.
    """
    parts: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        weight = weights.get(name, weights.get(name.rpartition("/")[0]))
        if isinstance(weight, DTensor) and tensor.shape == weight.shape:
            tensor = distribute_tensor(tensor.to(weight.device), weight.device_mesh, weight.placements)
        parts[name] = tensor
    return parts
