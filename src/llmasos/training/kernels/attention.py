"""Attention within documents, with a backward pass for CPUs.

In bfloat16 the native kernels compute it where they run. Elsewhere the forward pass is torch's flash attention,
documents of like length together. Its backward pass on CPUs multiplies small matrices in float32; here the
probabilities of a block of queries are computed again and all but one product runs in the number format of the tensors,
as Dao (2023, "FlashAttention-2") describes it. On other devices torch's own is used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from llmasos.training.kernels.groups import groups_of
from llmasos.training.kernels.native import kernels_for

BLOCK = 256
"""Queries whose probabilities are in memory at once."""


def attend(
    query: Tensor, key: Tensor, value: Tensor, lengths: tuple[int, ...], *, scaling: float, causal: bool
) -> Tensor:
    """Attention within each document, differentiable once.

    Args:
        query: (T, heads, dim); key, value: (T, kv heads, dim).
        lengths: of the documents, in order; they add up to T.

    Returns:
        (T, heads, dim).
    """
    if query.dtype != value.dtype:  # autocast: rotating by float32 angles made them float32 again
        query, key = query.to(value.dtype), key.to(value.dtype)
    output: Tensor = _Attention.apply(query, key, value, lengths, scaling, causal)  # type: ignore[no-untyped-call]  # torch gives it no types
    return output


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, lengths: tuple[int, ...], scaling: float, causal: bool
    ) -> Tensor:
        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
        output, log_sums = forward(query, key, value, lengths, scaling=scaling, causal=causal)
        ctx.save_for_backward(query, key, value, output, log_sums)
        ctx.rest = lengths, scaling, causal
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        lengths, scaling, causal = ctx.rest
        query, key, value, output, log_sums = ctx.saved_tensors
        found = backward(grads[0], query, key, value, output, log_sums, lengths, scaling=scaling, causal=causal)
        return (*found, None, None, None)


def forward(
    query: Tensor, key: Tensor, value: Tensor, lengths: tuple[int, ...], *, scaling: float, causal: bool
) -> tuple[Tensor, Tensor]:
    """The output (T, heads, dim), and the (T, heads) logarithms of the sums of exponents for :func:`backward`."""
    kernels = kernels_for(query, key, value, head_dim=query.shape[-1])
    if kernels is not None:
        return kernels.attention(query, key, value, lengths, scaling, causal)
    output = torch.empty_like(query, memory_format=torch.contiguous_format)
    log_sums = query.new_empty(query.shape[:2], dtype=torch.promote_types(query.dtype, torch.float32))
    for group in groups_of(lengths, query.device):
        q, k, v = (group.take(tensor).transpose(1, 2) for tensor in (query, key, value))
        mask = None
        if group.real is not None and not causal:  # else padding comes after what looks back
            mask = q.new_zeros(group.documents, 1, 1, group.length)
            mask.masked_fill_(~group.real[:, None, None], -torch.inf)
        found, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, causal, attn_mask=mask, scale=scaling
        )
        group.put(found.transpose(1, 2), output)
        group.put(sums.transpose(1, 2), log_sums)
    return output, log_sums


def backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    output: Tensor,
    log_sums: Tensor,
    lengths: tuple[int, ...],
    *,
    scaling: float,
    causal: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value, from that of the output (T, heads, dim)."""
    grad = grad.contiguous()
    kernels = kernels_for(grad, query, key, value, output, head_dim=query.shape[-1])
    if kernels is not None:
        return kernels.attention_backward(grad, query, key, value, output, log_sums, lengths, scaling, causal)
    grads = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
    mean = (grad * output).sum(-1, dtype=log_sums.dtype)  # (T, heads)
    for group in groups_of(lengths, query.device):
        found = _backward_group(
            (group.take(grad), group.take(query), group.take(key), group.take(value)),
            (group.take(log_sums), group.take(mean)),
            group.real,
            scaling,
            causal,
        )
        for values, row in zip(found, grads, strict=True):
            group.put(values, row)
    return grads


def _backward_group(
    given: tuple[Tensor, Tensor, Tensor, Tensor],
    sums: tuple[Tensor, Tensor],
    real: Tensor | None,
    scaling: float,
    causal: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query (N, L, heads, dim), key and value (N, L, kv heads, dim) of N documents of L tokens.

    Heads that share keys and values are rows of one matrix: G * n rows for n queries.

    Args:
        given: gradient of the output, query, key, value.
        sums: (N, L, heads) logarithms of the sums of exponents, and means of the gradient.
        real: (N, L) false where padding is; it neither sees nor is seen.
    """
    grad, query, key, value = given
    exact = sums[0].dtype
    documents, length, kv_heads = key.shape[:3]
    heads = query.shape[2]
    k, v = (tensor.transpose(1, 2).flatten(0, 1) for tensor in (key, value))  # (N * kv heads, L, dim)
    k_exact = k.to(exact)
    single = length <= BLOCK
    assert single or real is None, "documents of several blocks stand alone"
    grad_q = torch.empty_like(query)
    sum_k = None if single else torch.zeros_like(k_exact)
    sum_v = None if single else torch.zeros_like(v, dtype=exact)
    for start in range(0, length, BLOCK):
        stop = min(start + BLOCK, length)
        seen = stop if causal else length
        q, g = (_grouped(tensor[:, start:stop], kv_heads) for tensor in (query, grad))
        offset, mean = (_grouped(tensor[:, start:stop, :, None], kv_heads).neg() for tensor in sums)
        scores = torch.baddbmm(offset, q.to(exact), k_exact[:, :seen].transpose(1, 2), alpha=scaling)
        if causal:  # before the exponential: a later key may score so high that it overflows
            _hide_future(scores.view(len(scores), -1, stop - start, seen)[..., start:])
        if real is not None:
            hidden = ~(real[:, :, None] & real[:, None])
            pairs = scores.view(documents, kv_heads, -1, length, length)
            pairs.masked_fill_(hidden[:, None, None], -torch.inf)
        weights = scores.exp_().to(q.dtype)
        part_v = weights.transpose(1, 2) @ g
        slope = weights.mul_(torch.baddbmm(mean.to(q.dtype), g, v[:, :seen].transpose(1, 2)))
        part_k = (slope.transpose(1, 2) @ q).mul_(scaling)
        part_q = (slope @ k[:, :seen]).mul_(scaling)
        part_q = part_q.view(documents, kv_heads, heads // kv_heads, stop - start, -1)
        grad_q[:, start:stop] = part_q.permute(0, 3, 1, 2, 4).flatten(2, 3)
        if sum_k is None or sum_v is None:
            grad_k, grad_v = part_k, part_v
        else:
            sum_k[:, :seen] += part_k
            sum_v[:, :seen] += part_v
    if sum_k is not None and sum_v is not None:
        grad_k, grad_v = sum_k.to(k.dtype), sum_v.to(v.dtype)
    shape = documents, kv_heads, length, -1
    return grad_q, grad_k.view(shape).transpose(1, 2), grad_v.view(shape).transpose(1, 2)


def _grouped(tensor: Tensor, kv_heads: int) -> Tensor:
    """(N, n, heads, dim) to (N * kv heads, G * n, dim), a copy."""
    documents, n, heads, dim = tensor.shape
    parts = tensor.reshape(documents, n, kv_heads, heads // kv_heads, dim)
    return parts.permute(0, 2, 3, 1, 4).reshape(documents * kv_heads, -1, dim)


def _hide_future(scores: Tensor) -> None:
    """Minus infinity above the diagonal of the last two dimensions, in place."""
    size = scores.shape[-1]
    scores.masked_fill_(torch.ones(size, size, dtype=torch.bool, device=scores.device).triu_(1), -torch.inf)
