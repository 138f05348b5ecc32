"""The parts of a decoder layer between its matrix products: normalisation, SwiGLU, rotary positions.

With the native kernels each is one pass over memory; with torch, in any number format, several.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from llmasos.training.kernels.native import kernels_for


def normalized(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Root mean square normalisation of (T, width), as the models of transformers round it."""
    kernels = kernels_for(x, weight)
    if kernels is not None:
        return kernels.normalized(x, weight, epsilon)
    factor = _factor(x, epsilon)
    return (x.to(factor.dtype) * factor).to(x.dtype).mul_(weight)


def normalized_backward(
    grad: Tensor, x: Tensor, weight: Tensor, epsilon: float, beside: Tensor, needs_weight: bool
) -> tuple[Tensor, Tensor | None]:
    """The gradient of ``x``, that of the way around the normalisation added, and the weight's."""
    kernels = kernels_for(grad, x, weight, beside)
    if kernels is not None:
        return kernels.normalized_backward(grad, x, weight, epsilon, beside, needs_weight)
    factor = _factor(x, epsilon)
    exact = x.to(factor.dtype)
    grad_weight = (grad * (exact * factor).to(x.dtype)).sum(0) if needs_weight else None
    inner = (grad * weight).to(factor.dtype)
    share = torch.linalg.vecdot(inner, exact)[:, None] * factor.pow(3) / x.shape[-1]
    inner = inner.mul_(factor).addcmul_(exact, share, value=-1)
    return inner.add_(beside).to(x.dtype), grad_weight


def _factor(x: Tensor, epsilon: float) -> Tensor:
    """(T, 1) one over the root mean square of each row."""
    exact = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=exact)
    factor: Tensor = norm.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
    return factor


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """``silu(gate) * up``."""
    kernels = kernels_for(gate, up)
    return functional.silu(gate).mul_(up) if kernels is None else kernels.swiglu(gate, up)


def swiglu_backward(grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of gate and up. The memory of ``grad`` is used for them."""
    kernels = kernels_for(grad, gate, up)
    if kernels is not None:
        return kernels.swiglu_backward(grad, gate, up)
    grad_up = functional.silu(gate).mul_(grad)
    return torch.ops.aten.silu_backward(grad.mul_(up), gate), grad_up


def rotated(states: Tensor, cos: Tensor, sin: Tensor, *, back: bool = False) -> Tensor:
    """(T, heads, dim) turned by the angles (T, dim / 2) of the positions, or back; may use the memory of ``states``."""
    kernels = kernels_for(states, cos, sin)
    if kernels is not None:
        return kernels.rotate(states, cos, sin, -1.0 if back else 1.0)
    half = states.shape[-1] // 2
    first, second = states[..., :half], states[..., half:]
    cos, sin = cos[:, None], (-sin if back else sin)[:, None]
    output = torch.empty_like(states, memory_format=torch.contiguous_format)
    torch.mul(first, cos, out=output[..., :half]).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=output[..., half:]).addcmul_(first, sin)
    return output
