"""The cross entropy of a linear head without all of its logits in memory.

Logits of a chunk of positions are computed, turned into the loss and at once into the gradients of hidden states and
head, and forgotten (the idea of Liger Kernel, Hsu et al. 2024): one matrix product less than computing them again in
the backward pass, and memory for a chunk instead of for all positions.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from llmasos.training.kernels.native import kernels_for


@dataclass(frozen=True)
class LogitTransform:
    """What a model does to the output of its head: ``cap * tanh(scale * logits / cap)``, without cap ``scale *
    logits``."""

    scale: float = 1.0
    cap: float | None = None

    def __call__(self, logits: Tensor) -> Tensor:
        """(..., vocab) transformed logits."""
        scaled = logits if self.scale == 1.0 else logits * self.scale
        return scaled if self.cap is None else self.cap * torch.tanh(scaled / self.cap)


IDENTITY = LogitTransform()


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    *,
    chunk: int,
    label_smoothing: float = 0.0,
    transform: LogitTransform = IDENTITY,
) -> Tensor:
    """The summed cross entropy of ``transform(hidden @ weight.T + bias)``.

    Products are computed in the number format of ``hidden``, the softmax in float32 at least. As
    :func:`torch.nn.functional.cross_entropy`, with ``label_smoothing`` e the target has probability 1 - e beside
    e / vocab for every token.

    Args:
        hidden: (N, width).
        weight: (vocab, width), bias: (vocab,).
        targets: (N,) token ids.
        chunk: positions whose logits are in memory at once.

    Returns:
        () the sum, float32 or float64; differentiable once.
    """
    # Shapes alone (the meta device) have no autocast.
    exact = nullcontext() if hidden.is_meta else torch.autocast(hidden.device.type, enabled=False)
    with exact:
        total: Tensor = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]  # torch gives it no types
            hidden, weight, bias, targets, chunk, label_smoothing, transform
        )
    return total


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        chunk: int,
        smoothing: float,
        transform: LogitTransform,
    ) -> Tensor:
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        exact = torch.promote_types(hidden.dtype, torch.float32)
        head = weight.to(hidden.dtype)
        offset = None if bias is None else bias.to(hidden.dtype)
        total = hidden.new_zeros((), dtype=torch.float64)
        grad_hidden = torch.empty_like(hidden) if needs_hidden else None
        grad_weight = torch.zeros_like(weight) if needs_weight else None
        grad_bias = torch.zeros_like(bias) if needs_bias and bias is not None else None
        for start in range(0, len(hidden), chunk):
            part = hidden[start : start + chunk]
            target = targets[start : start + chunk]
            output = functional.linear(part, head, offset)
            loss, grad = _loss_and_grad(
                output, target, smoothing, transform, differentiate=needs_hidden or needs_weight or needs_bias
            )
            total += loss
            if grad is None:
                continue
            if grad_bias is not None:
                grad_bias += grad.sum(0, dtype=exact)
            narrow = grad.to(hidden.dtype)
            if grad_hidden is not None:
                torch.mm(narrow, head, out=grad_hidden[start : start + chunk])
            if grad_weight is not None:
                _add_product(grad_weight, narrow, part)
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        return total.to(exact)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (factor,) = grads
        found = [None if grad is None else grad * factor.to(grad.dtype) for grad in ctx.saved_tensors]
        return (*found, None, None, None, None)


def _loss_and_grad(
    output: Tensor, targets: Tensor, smoothing: float, transform: LogitTransform, *, differentiate: bool
) -> tuple[Tensor, Tensor | None]:
    """The summed loss of some positions, and if wanted its gradient for the (N, vocab) output of the head.

    The memory of ``output`` may be used.
    """
    kernels = None if smoothing or transform != IDENTITY else kernels_for(output)
    if kernels is not None:
        total = kernels.cross_entropy(output, targets, differentiate=differentiate)
        return total, output if differentiate else None
    scaled = transform(output.to(torch.promote_types(output.dtype, torch.float32)))
    log_p = torch.log_softmax(scaled, -1)
    total = -(1 - smoothing) * log_p.gather(1, targets[:, None]).sum(dtype=torch.float64)
    if smoothing:
        total -= smoothing * log_p.mean(-1).sum(dtype=torch.float64)
    if not differentiate:
        return total, None
    grad = log_p.exp_()  # in place: log_p is not needed any more
    grad[torch.arange(len(grad), device=grad.device), targets] -= 1 - smoothing
    if smoothing:
        grad -= smoothing / grad.shape[1]
    if transform.cap is not None:
        grad *= 1 - (scaled / transform.cap).square()
    if transform.scale != 1.0:
        grad *= transform.scale
    return total, grad


def _add_product(total: Tensor, grad: Tensor, hidden: Tensor) -> None:
    """total += grad.T @ hidden."""
    if total.dtype == grad.dtype:
        total.addmm_(grad.T, hidden)
    else:
        total += grad.T @ hidden
