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
from torch.autograd.function import once_differentiable

from llmasos.training.kernels import attention
from llmasos.training.kernels.pointwise import normalized, normalized_backward, rotated, swiglu, swiglu_backward
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
    @once_differentiable
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
    q, k, v = project(normalized(x, layer.first_norm, setting.epsilon), query_key_value)
    q, k, v = (tensor.view(len(x), -1, setting.head_dim) for tensor in (q, k, v))
    q, k = rotated(q, setting.cos, setting.sin), rotated(k, setting.cos, setting.sin)
    attended, log_sums = attention.forward(q, k, v, setting.lengths, scaling=setting.scaling, causal=True)
    (middle,) = project(attended.flatten(1), output)
    middle += x
    gate, up = project(normalized(middle, layer.second_norm, setting.epsilon), gate_up)
    (result,) = project(swiglu(gate, up), down)
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

    active = swiglu(states.gate, states.up)
    inner, down_grads = project_backward(active, down, [grad], wanted[6:], needs_input=True)
    assert inner is not None
    grad_gate, grad_up = swiglu_backward(inner, states.gate, states.up)
    normal = normalized(states.middle, layer.second_norm, setting.epsilon)
    inner, gate_grads = project_backward(
        normal, gate_up, [grad_gate, grad_up], wanted[4:6], needs_input=attention_part or needs[1]
    )
    middle_grad, second = (
        (None, None)
        if inner is None
        else normalized_backward(inner, states.middle, layer.second_norm, setting.epsilon, grad, needs[1])
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
    q, k = (rotated(tensor, setting.cos, setting.sin, back=True) for tensor in (q, k))
    normal = normalized(x, layer.first_norm, setting.epsilon)
    inner, input_grads = project_backward(
        normal, query_key_value, [q.flatten(1), k.flatten(1), v.flatten(1)], wanted[:3],
        needs_input=needs_input or needs[0],
    )  # fmt: skip
    grad_x, first = (
        (None, None)
        if inner is None
        else normalized_backward(inner, x, layer.first_norm, setting.epsilon, middle_grad, needs[0])
    )
    return grad_x, [first, second, *input_grads, *output_grads, *gate_grads, *down_grads]


def _groups(items: tuple[Projection, ...]) -> tuple[tuple[Projection, ...], ...]:
    return items[:3], items[3:4], items[4:6], items[6:]
