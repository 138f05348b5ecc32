"""Attention within documents: as torch computes each document alone, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from llmasos.training.kernels.attention import BLOCK, attend
from llmasos.training.kernels.documents import document_attention

LENGTHS = (5, BLOCK + 44, 1, 2 * BLOCK + 3, 30, 4, 26, 5, 29, 1)


def tensors(kv_heads: int = 2) -> list[torch.Tensor]:
    torch.manual_seed(0)
    heads = (6, kv_heads, kv_heads)
    return [torch.randn(sum(LENGTHS), count, 8, dtype=torch.float64, requires_grad=True) for count in heads]


def alone(given: list[torch.Tensor], *, causal: bool) -> torch.Tensor:
    parts = zip(*(tensor.split(LENGTHS) for tensor in given), strict=True)
    outputs = []
    for part in parts:
        query, key, value = (tensor.transpose(0, 1)[None] for tensor in part)
        output = functional.scaled_dot_product_attention(
            query, key, value, is_causal=causal, scale=0.3, enable_gqa=True
        )
        outputs.append(output[0].transpose(0, 1))
    return torch.cat(outputs)


def ours(given: list[torch.Tensor], *, causal: bool) -> torch.Tensor:
    query, key, value = given
    return attend(query, key, value, LENGTHS, scaling=0.3, causal=causal)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kv_heads", [1, 2, 6])
def test_equals_documents_alone(causal: bool, kv_heads: int) -> None:
    given = tensors(kv_heads)
    found, expected = ours(given, causal=causal), alone(given, causal=causal)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    slope = torch.randn_like(found)
    for first, second in zip(
        torch.autograd.grad(found, given, slope), torch.autograd.grad(expected, given, slope), strict=True
    ):
        torch.testing.assert_close(first, second, rtol=1e-8, atol=1e-11)


def test_bfloat16_gradients_are_as_near_as_those_of_torch() -> None:
    exact = tensors()
    narrow = [tensor.detach().bfloat16().requires_grad_() for tensor in exact]
    slope = torch.randn(sum(LENGTHS), 6, 8, dtype=torch.float64)
    wanted = torch.autograd.grad(alone(exact, causal=True), exact, slope)
    own = torch.autograd.grad(ours(narrow, causal=True), narrow, slope.bfloat16())
    theirs = torch.autograd.grad(alone(narrow, causal=True), narrow, slope.bfloat16())
    for right, first, second in zip(wanted, own, theirs, strict=True):
        assert (first.double() - right).norm() < 2 * (second.double() - right).norm() + 1e-3 * right.norm()


def test_a_later_key_that_scores_beyond_all_numbers() -> None:
    """Queries that would look at what they must not see: the exponential of such a score is infinite."""
    query = torch.full((4, 1, 8), 20.0, requires_grad=True)
    key = torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None, None].expand(4, 1, 8).contiguous().requires_grad_()
    value = torch.randn(4, 1, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found = torch.autograd.grad(attend(query, key, value, (4,), scaling=1.0, causal=True).sum(), (query, key, value))
    assert all(bool(gradient.isfinite().all()) for gradient in found)
    torch.testing.assert_close(found[2], torch.ones(4, 1, 8), rtol=0, atol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_windows(causal: bool) -> None:
    query, key, value = (tensor.detach().transpose(0, 1) for tensor in tensors())
    window = 4
    found = document_attention(query, key, value, LENGTHS, scaling=0.3, causal=causal, window=window)
    start = 0
    for length in LENGTHS:
        part = slice(start, start + length)
        q, k, v = query[:, part], key[:, part].repeat_interleave(3, 0), value[:, part].repeat_interleave(3, 0)
        distance = torch.arange(length)[:, None] - torch.arange(length)[None]
        seen = (distance >= 0) & (distance < window) if causal else distance.abs() < window
        weights = torch.softmax((0.3 * q @ k.transpose(1, 2)).masked_fill(~seen, float("-inf")), -1)
        torch.testing.assert_close(found[:, part], weights @ v, rtol=1e-9, atol=1e-10)
        start += length


@pytest.mark.parametrize("causal", [True, False])
def test_dropout_leaves_out_some_of_what_each_token_sees(causal: bool) -> None:
    """With unit vectors as values the output is the weights: each is gone, or larger by what is gone on average."""
    lengths, share = (9, 12, 7, 12), 0.25
    torch.manual_seed(0)
    query, key = (torch.randn(1, sum(lengths), 12, dtype=torch.float64) for _ in range(2))
    value = torch.cat([torch.eye(12, dtype=torch.float64)[:length] for length in lengths])[None]
    whole = document_attention(query, key, value, lengths, scaling=0.3, causal=causal)
    found = document_attention(query, key, value, lengths, scaling=0.3, causal=causal, dropout=share)
    kept = found != 0
    torch.testing.assert_close(found[kept], whole[kept] / (1 - share))
    assert 0.6 < kept.sum() / (whole != 0).sum() < 0.9
