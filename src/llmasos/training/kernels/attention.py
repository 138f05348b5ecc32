"""Attention within documents, with a backward pass for CPUs.

The forward pass is torch's flash attention, one document at a time. Its backward pass on CPUs multiplies small matrices
in float32; here the probabilities of a block of queries are computed again and all but one product runs in the number
format of the tensors, as Dao (2023, "FlashAttention-2") describes it. On other devices torch's own is used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

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
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        lengths, scaling, causal = ctx.rest
        query, key, value, output, log_sums = ctx.saved_tensors
        found = backward(grads[0], query, key, value, output, log_sums, lengths, scaling=scaling, causal=causal)
        return (*found, None, None, None)


def forward(
    query: Tensor, key: Tensor, value: Tensor, lengths: tuple[int, ...], *, scaling: float, causal: bool
) -> tuple[Tensor, Tensor]:
    """The output (T, heads, dim), and the (heads, T) logarithms of the sums of exponents for :func:`backward`."""
    output = torch.empty_like(query, memory_format=torch.contiguous_format)
    log_sums = query.new_empty((query.shape[1], len(query)), dtype=torch.promote_types(query.dtype, torch.float32))
    start = 0
    for length in lengths:
        part = slice(start, start + length)
        q, k, v = (tensor[part].transpose(0, 1)[None] for tensor in (query, key, value))
        found, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, scale=scaling)
        output[part] = found[0].transpose(0, 1)
        log_sums[:, part] = sums[0]
        start += length
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
    exact = log_sums.dtype
    grads = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
    mean = (grad * output).sum(-1, dtype=exact).T  # (heads, T)
    start = 0
    for length in lengths:
        part = slice(start, start + length)
        _backward_document(
            tuple(tensor[part] for tensor in (grad, query, key, value)),
            log_sums[:, part],
            mean[:, part],
            tuple(tensor[part] for tensor in grads),
            scaling,
            causal,
        )
        start += length
    return grads


def _backward_document(
    given: tuple[Tensor, ...], log_sums: Tensor, mean: Tensor, grads: tuple[Tensor, ...], scaling: float, causal: bool
) -> None:
    """Write the gradients of one document of L tokens.

    Heads that share keys and values are rows of one matrix: G * n rows for n queries.
    """
    grad, query, key, value = given
    exact = log_sums.dtype
    length, kv_heads = key.shape[:2]
    groups = query.shape[1] // kv_heads
    k, v = key.transpose(0, 1).contiguous(), value.transpose(0, 1).contiguous()  # (kv heads, L, dim)
    k_exact = k.to(exact)
    single = length <= BLOCK
    sum_k = None if single else torch.zeros_like(k, dtype=exact)
    sum_v = None if single else torch.zeros_like(v, dtype=exact)
    for start in range(0, length, BLOCK):
        stop = min(start + BLOCK, length)
        seen = stop if causal else length
        q, g = (_grouped(tensor[start:stop], kv_heads) for tensor in (query, grad))
        offset = log_sums[:, start:stop].reshape(kv_heads, -1, 1).neg()
        scores = torch.baddbmm(offset, q.to(exact), k_exact[:, :seen].transpose(1, 2), alpha=scaling)
        if causal:  # before the exponential: a later key may score so high that it overflows
            _hide_future(scores.view(kv_heads, groups, stop - start, seen)[..., start:])
        weights = scores.exp_().to(q.dtype)
        part_v = weights.transpose(1, 2) @ g
        offset = mean[:, start:stop].reshape(kv_heads, -1, 1).neg().to(q.dtype)
        slope = weights.mul_(torch.baddbmm(offset, g, v[:, :seen].transpose(1, 2)))
        part_k = (slope.transpose(1, 2) @ q).mul_(scaling)
        part_q = (slope @ k[:, :seen]).mul_(scaling)
        grads[0][start:stop] = part_q.view(kv_heads, groups, stop - start, -1).permute(2, 0, 1, 3).flatten(1, 2)
        if sum_k is None or sum_v is None:
            grads[1].copy_(part_k.transpose(0, 1))
            grads[2].copy_(part_v.transpose(0, 1))
        else:
            sum_k[:, :seen] += part_k
            sum_v[:, :seen] += part_v
    if sum_k is not None and sum_v is not None:
        grads[1].copy_(sum_k.transpose(0, 1))
        grads[2].copy_(sum_v.transpose(0, 1))


def _grouped(tensor: Tensor, kv_heads: int) -> Tensor:
    """(n, heads, dim) to (kv heads, G * n, dim)."""
    n, heads, dim = tensor.shape
    return tensor.view(n, kv_heads, heads // kv_heads, dim).permute(1, 2, 0, 3).reshape(kv_heads, -1, dim)


def _hide_future(scores: Tensor) -> None:
    """Minus infinity above the diagonal of the last two dimensions, in place."""
    size = scores.shape[-1]
    scores.masked_fill_(torch.ones(size, size, dtype=torch.bool, device=scores.device).triu_(1), -torch.inf)
