"""A layer of a decoder of the Llama family as one function, forward and backward.

Computes what the layer of transformers does, with fewer passes over memory: low-rank updates are added in place,
attention runs within documents, normalised and activated states are computed again instead of being kept, and gradients
of frozen weights are not computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from llmasos.training.kernels import attention
from llmasos.training.kernels.projection import Projection, project, project_backward


@dataclass(frozen=True, slots=True)
class Layer:
    """The weights of a layer.

    Attributes:
        first_norm, second_norm: (width,) before attention and before the feed-forward part.
        projections: query, key, value, output, gate, up, down.
    """

    first_norm: Tensor
    second_norm: Tensor
    projections: tuple[Projection, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """What all layers share.

    Attributes:
        cos, sin: (T, dim / 2) of the rotary positions.
        lengths: of the documents, which add up to T.
        recompute: whether only the input of a layer is kept for the backward pass.
    """

    cos: Tensor
    sin: Tensor
    lengths: tuple[int, ...]
    head_dim: int
    scaling: float
    epsilon: float
    recompute: bool = False


def run_layer(x: Tensor, layer: Layer, setting: Setting) -> Tensor:
    """(T, width) to (T, width); differentiable once."""
    tensors = [tensor for item in layer.projections for tensor in item.tensors()]
    scales = tuple(item.scale for item in layer.projections)
    output: Tensor = _LayerFunction.apply(  # type: ignore[no-untyped-call]  # torch gives it no types
        x, setting, scales, layer.first_norm, layer.second_norm, *tensors
    )
    return output


@dataclass(slots=True)
class _States:
    """What the backward pass needs: (T, ...) tensors."""

    query: Tensor
    key: Tensor
    value: Tensor
    attended: Tensor
    log_sums: Tensor
    middle: Tensor
    gate: Tensor
    up: Tensor

    def tensors(self) -> tuple[Tensor, ...]:
        return (self.query, self.key, self.value, self.attended, self.log_sums, self.middle, self.gate, self.up)


class _LayerFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, setting: Setting, scales: tuple[float, ...], *weights: Tensor | None) -> Tensor:
        layer = _layer(weights, scales)
        states, output = _forward(x, layer, setting)
        kept = () if setting.recompute else states.tensors()
        ctx.save_for_backward(x, *kept, *weights)
        ctx.rest = setting, scales, len(kept)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        setting, scales, count = ctx.rest
        x, *saved = ctx.saved_tensors
        layer = _layer(saved[count:], scales)
        states = _States(*saved[:count]) if count else _forward(x, layer, setting)[0]
        needs = ctx.needs_input_grad
        grad_x, found = _backward(grads[0], x, layer, setting, states, needs[0], needs[3:])
        return (grad_x, None, None, *found)


def _layer(weights: Sequence[Tensor | None], scales: Sequence[float]) -> Layer:
    first, second, *rest = weights
    assert first is not None and second is not None
    projections = []
    for start, scale in zip(range(0, len(rest), 4), scales, strict=True):
        weight, bias, a, b = rest[start : start + 4]
        assert weight is not None
        projections.append(Projection(weight, bias, a, b, scale))
    return Layer(first, second, tuple(projections))


def _forward(x: Tensor, layer: Layer, setting: Setting) -> tuple[_States, Tensor]:
    query_key_value, output, gate_up, down = _groups(layer.projections)
    q, k, v = project(_normalized(x, layer.first_norm, setting.epsilon), query_key_value)
    q, k, v = (tensor.view(len(x), -1, setting.head_dim) for tensor in (q, k, v))
    q, k = _rotated(q, setting.cos, setting.sin), _rotated(k, setting.cos, setting.sin)
    attended, log_sums = attention.forward(q, k, v, setting.lengths, scaling=setting.scaling, causal=True)
    (middle,) = project(attended.flatten(1), output)
    middle += x
    gate, up = project(_normalized(middle, layer.second_norm, setting.epsilon), gate_up)
    (result,) = project(functional.silu(gate).mul_(up), down)
    result += middle
    return _States(q, k, v, attended, log_sums, middle, gate, up), result


def _backward(
    grad: Tensor,
    x: Tensor,
    layer: Layer,
    setting: Setting,
    states: _States,
    needs_input: bool,
    needs: Sequence[bool],
) -> tuple[Tensor | None, list[Tensor | None]]:
    """Gradients of the input, and of the weights in their order."""
    query_key_value, output, gate_up, down = _groups(layer.projections)
    wanted: list[Any] = [tuple(needs[start : start + 4]) for start in range(2, len(needs), 4)]
    attention_part = needs_input or needs[0] or any(any(need) for need in wanted[:4])

    active = functional.silu(states.gate)
    inner, down_grads = project_backward(active * states.up, down, [grad], wanted[6:], needs_input=True)
    assert inner is not None
    grad_up = active.mul_(inner)
    grad_gate = torch.ops.aten.silu_backward(inner.mul_(states.up), states.gate)
    normal = _normalized(states.middle, layer.second_norm, setting.epsilon)
    inner, gate_grads = project_backward(
        normal, gate_up, [grad_gate, grad_up], wanted[4:6], needs_input=attention_part or needs[1]
    )
    middle_grad, second = (
        (None, None)
        if inner is None
        else _normalized_backward(inner, states.middle, layer.second_norm, setting.epsilon, grad, needs[1])
    )
    if not attention_part or middle_grad is None:
        return None, [None, second, *[None] * 16, *gate_grads, *down_grads]

    inner, output_grads = project_backward(
        states.attended.flatten(1), output, [middle_grad], wanted[3:4],
        needs_input=needs_input or needs[0] or any(any(need) for need in wanted[:3]),
    )  # fmt: skip
    if inner is None:
        return None, [None, second, *[None] * 12, *output_grads, *gate_grads, *down_grads]
    grads = attention.backward(
        inner.view_as(states.attended), states.query, states.key, states.value, states.attended, states.log_sums,
        setting.lengths, scaling=setting.scaling, causal=True,
    )  # fmt: skip
    q, k, v = grads
    q, k = _rotated(q, setting.cos, -setting.sin), _rotated(k, setting.cos, -setting.sin)
    normal = _normalized(x, layer.first_norm, setting.epsilon)
    inner, input_grads = project_backward(
        normal, query_key_value, [q.flatten(1), k.flatten(1), v.flatten(1)], wanted[:3],
        needs_input=needs_input or needs[0],
    )  # fmt: skip
    grad_x, first = (
        (None, None)
        if inner is None
        else _normalized_backward(inner, x, layer.first_norm, setting.epsilon, middle_grad, needs[0])
    )
    return grad_x, [first, second, *input_grads, *output_grads, *gate_grads, *down_grads]


def _groups(items: tuple[Projection, ...]) -> tuple[tuple[Projection, ...], ...]:
    return items[:3], items[3:4], items[4:6], items[6:]


def _rotated(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(T, heads, dim) turned by the angles of the positions."""
    half = states.shape[-1] // 2
    first, second = states[..., :half], states[..., half:]
    cos, sin = cos[:, None], sin[:, None]
    output = torch.empty_like(states, memory_format=torch.contiguous_format)
    torch.mul(first, cos, out=output[..., :half]).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=output[..., half:]).addcmul_(first, sin)
    return output


def _factor(x: Tensor, epsilon: float) -> Tensor:
    """(T, 1) one over the root mean square of each row."""
    exact = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=exact)
    factor: Tensor = norm.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
    return factor


def _normalized(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Root mean square normalisation of (T, width), as the models of transformers round it."""
    factor = _factor(x, epsilon)
    return (x.to(factor.dtype) * factor).to(x.dtype).mul_(weight)


def _normalized_backward(
    grad: Tensor, x: Tensor, weight: Tensor, epsilon: float, beside: Tensor, needs_weight: bool
) -> tuple[Tensor, Tensor | None]:
    """The gradient of ``x``, that of the way around the normalisation added, and the weight's."""
    factor = _factor(x, epsilon)
    exact = x.to(factor.dtype)
    grad_weight = (grad * (exact * factor).to(x.dtype)).sum(0) if needs_weight else None
    inner = (grad * weight).to(factor.dtype)
    share = torch.linalg.vecdot(inner, exact)[:, None] * factor.pow(3) / x.shape[-1]
    inner = inner.mul_(factor).addcmul_(exact, share, value=-1)
    return inner.add_(beside).to(x.dtype), grad_weight
