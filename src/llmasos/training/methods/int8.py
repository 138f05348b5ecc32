"""Frozen linear layers in 8-bit integers, for training beside them on a CPU.

A row of the weight matrix (the weights of one output) has a scale, the largest absolute value divided by 127, as in
"LLM.int8()" (Dettmers et al., 2022) without its outliers, which concern activations: those stay in floating point here.
The matrix becomes floating point only while it is multiplied with, once in each pass, and is never kept for the
backward pass.
"""

from __future__ import annotations

import threading
from typing import Any, cast

import torch
from torch import Tensor, nn


class Int8Linear(nn.Linear):
    """``x @ (scale * q).T + bias`` with q in int8; the weight has no gradient.

    A subclass of :class:`torch.nn.Linear`, so that PEFT puts its updates beside it.

    Attributes:
        weight: (out, in) int8.
        scale: (out,) float32.
    """

    scale: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        values, scale = quantize_rows(layer.weight.detach())
        self.weight = nn.Parameter(cast(Any, values), requires_grad=False)
        self.register_buffer("scale", scale)
        self.bias = layer.bias
        if self.bias is not None:
            self.bias.requires_grad_(False)

    def forward(self, input: Tensor) -> Tensor:
        """(..., in) to (..., out), computed in the format of the input."""
        output: Tensor = cast(Any, _Product).apply(input, self.weight, self.scale)
        return output if self.bias is None else output + self.bias.to(output.dtype)

    def dequantized(self) -> Tensor:
        """(out, in) float32 the weights that are computed with."""
        return self.weight.float() * self.scale[:, None]

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, int8"


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(out, in) int8 and (out,) float32 scales; a row of zeros has scale one."""
    exact = weight.float()
    largest = exact.abs().amax(dim=1)
    scale = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
    return torch.round(exact / scale[:, None]).clamp_(-127, 127).to(torch.int8), scale


class _Scratch(threading.local):
    """Memory for the matrix that is multiplied with: taking new memory for each costs more than the multiplication."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def like(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """Memory of the shape of ``weight``, whose content the next call overwrites."""
        key = dtype, weight.device
        buffer = self._buffers.get(key)
        if buffer is None or buffer.numel() < weight.numel():
            buffer = self._buffers[key] = torch.empty(weight.numel(), dtype=dtype, device=weight.device)
        return buffer[: weight.numel()].view(weight.shape)


_scratch = _Scratch()


class _Product(torch.autograd.Function):
    """Keeps the integers for the backward pass rather than a floating-point copy of them."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(weight, scale)
        exact = _scratch.like(weight, input.dtype).copy_(weight)
        # The scales go to the output, so that the integers, which every format holds exactly, are not rounded.
        return nn.functional.linear(input, exact).mul_(scale.to(input.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None]:
        weight, scale = ctx.saved_tensors
        (gradient,) = gradients
        if not ctx.needs_input_grad[0]:
            return None, None, None
        scaled = torch.mul(weight, scale.to(gradient.dtype)[:, None], out=_scratch.like(weight, gradient.dtype))
        return gradient @ scaled, None, None
