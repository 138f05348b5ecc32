"""Vectors of a cache in plain torch, as they are or in int8 with a scale each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

_LONGEST_TRANSFORM = 128


class VectorStore(Protocol):
    """(layers, slots, heads, dim) vectors that are written and read by slot."""

    def write(self, layer: int, slots: torch.Tensor, vectors: torch.Tensor) -> None:
        """Keep (slots, heads, dim) float vectors."""

    def read(self, layer: int, slots: torch.Tensor) -> torch.Tensor:
        """(..., heads, dim) float32 of any shape of slots."""

    def copy(self, source: slice, target: slice) -> None:
        """Copy slots in all layers."""


def vector_bytes(dim: int, dtype: torch.dtype) -> int:
    """Bytes that one vector takes in a store."""
    import torch

    return dim + 4 if dtype is torch.int8 else dim * dtype.itemsize


def make_store(layers: int, slots: int, heads: int, dim: int, dtype: torch.dtype, device: str) -> VectorStore:
    """A zeroed store of ``dtype``: a floating type, or int8."""
    import torch

    kind = QuantizedStore if dtype is torch.int8 else PlainStore
    return kind(torch.zeros(layers, slots, heads, dim, dtype=dtype, device=device))


class PlainStore:
    """See :class:`VectorStore`; rounds to a floating type."""

    def __init__(self, values: torch.Tensor) -> None:
        self._values = values

    def write(self, layer: int, slots: torch.Tensor, vectors: torch.Tensor) -> None:
        self._values[layer, slots] = vectors.to(self._values.dtype)

    def read(self, layer: int, slots: torch.Tensor) -> torch.Tensor:
        return self._values[layer][slots].float()

    def copy(self, source: slice, target: slice) -> None:
        self._values[:, target] = self._values[:, source]


class QuantizedStore:
    """See :class:`VectorStore`; int8 with one float32 scale for each vector."""

    def __init__(self, codes: torch.Tensor) -> None:
        self._codes = codes
        self._scales = codes.new_zeros(codes.shape[:-1]).float()

    def write(self, layer: int, slots: torch.Tensor, vectors: torch.Tensor) -> None:
        codes, scales = quantize(vectors)
        self._codes[layer, slots], self._scales[layer, slots] = codes, scales

    def read(self, layer: int, slots: torch.Tensor) -> torch.Tensor:
        return dequantize(self._codes[layer][slots], self._scales[layer][slots])

    def copy(self, source: slice, target: slice) -> None:
        self._codes[:, target] = self._codes[:, source]
        self._scales[:, target] = self._scales[:, source]


def quantize(vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(..., dim) -> int8 codes of the same shape and (...) float32 scales; off by half a scale at most."""
    import torch

    vectors = vectors.float()
    scales = vectors.abs().amax(-1) / 127
    divisor = scales.clamp_min(torch.finfo(torch.float32).tiny)[..., None]
    return (vectors / divisor).round().clamp(-127, 127).to(torch.int8), scales


def dequantize(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """The vectors that codes and scales stand for, float32."""
    return codes.float() * scales[..., None]


def hadamard(dim: int, device: str) -> torch.Tensor:
    """(dim, dim) orthogonal matrix: Hadamard transforms of the longest blocks that divide ``dim``.

    Some channels of keys are far above the rest and would ruin the scale of their vector. Applied to queries and keys,
    this leaves their products as they are and spreads large values over their block (QuaRot, Ashkboos et al. 2024).
    """
    import torch

    block = min(dim & -dim, _LONGEST_TRANSFORM)
    matrix = torch.ones(1, 1)
    while len(matrix) < block:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return torch.block_diag(*[matrix / block**0.5] * (dim // block)).to(device)
