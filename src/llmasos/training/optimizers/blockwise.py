"""Tensors in 8 bits: blocks with a scale each, and a code that is fine near zero.

Dettmers et al., "8-bit Optimizers via Block-wise Quantization", 2022: a block of numbers is divided by its largest
absolute value, and each becomes the number of the nearest of 256 values. These lie in seven decades, with more values
in the higher ones ("dynamic tree quantisation", section 1.3 there).
"""

from __future__ import annotations

from functools import lru_cache

import torch

BLOCK = 256
"""Numbers that share a scale."""
_CHUNK = 1 << 20  # numbers quantised together: bounds the memory of what is in between


@lru_cache
def code(signed: bool) -> torch.Tensor:
    """(256,) the values that 8 bits stand for, ascending in [-1, 1], or in [0, 1] for numbers that are not negative."""
    values = [0.0, 1.0]
    for decade in range(7):
        count = 2**decade if signed else 2 ** (decade + 1)
        edges = torch.linspace(0.1, 1, count + 1, dtype=torch.float64)
        middles = ((edges[:-1] + edges[1:]) / 2 * 10.0 ** (decade - 6)).tolist()
        values += middles
        if signed:
            values += [-value for value in middles]
    return torch.tensor(sorted(values), dtype=torch.float32)


@lru_cache
def _borders(signed: bool) -> torch.Tensor:
    values = code(signed)
    return (values[:-1] + values[1:]) / 2


def quantize(values: torch.Tensor, *, signed: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers in 8 bits.

    Args:
        values: any shape, float32.

    Returns:
        uint8 of the same shape, and the float32 scale of each block: (ceil(numbers / BLOCK),).
    """
    flat = values.reshape(-1)
    numbers = torch.empty(flat.shape, dtype=torch.uint8, device=values.device)
    scales = torch.empty(-(-len(flat) // BLOCK), device=values.device)
    borders = _borders(signed).to(values.device)
    for start in range(0, len(flat), _CHUNK):
        part = flat[start : start + _CHUNK]
        blocks = torch.nn.functional.pad(part, (0, -len(part) % BLOCK)).view(-1, BLOCK)
        largest = blocks.abs().amax(dim=1)
        scales[start // BLOCK : start // BLOCK + len(largest)] = largest
        shares = blocks / largest.clamp(min=torch.finfo(torch.float32).tiny).unsqueeze(1)
        numbers[start : start + len(part)] = torch.bucketize(shares, borders, out_int32=True).view(-1)[: len(part)]
    return numbers.view(values.shape), scales


def dequantize(numbers: torch.Tensor, scales: torch.Tensor, *, signed: bool) -> torch.Tensor:
    """The float32 numbers that :func:`quantize` came nearest to, of the shape of ``numbers``."""
    values = code(signed).to(numbers.device)[numbers.reshape(-1).int()]
    blocks = torch.nn.functional.pad(values, (0, -len(values) % BLOCK)).view(-1, BLOCK)
    blocks *= scales.unsqueeze(1)
    return blocks.view(-1)[: len(values)].view(numbers.shape)
