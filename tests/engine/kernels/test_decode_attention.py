"""Attention over pages: fused and step by step, over static tables and over slices, every rule and head layout."""

from __future__ import annotations

import pytest
import torch

from llmasos.engine.batch import SequenceSlice
from llmasos.engine.kernels.cache_store import PlainStore
from llmasos.engine.kernels.decode_attention import DecodeAttention
from llmasos.engine.kernels.paged_attention import AttentionRule, PagedAttention

BLOCKS, KV_HEADS = 40, 2
CONTEXTS = (0, 14, 15, 16, 33, 70)
SINKS = torch.linspace(-1, 2, 8)
RULES = {
    "plain": AttentionRule(0.3),
    "window": AttentionRule(0.25, window=20),
    "window of one": AttentionRule(0.25, window=1),
    "window of a block": AttentionRule(0.25, window=16),
    "window beyond all": AttentionRule(0.25, window=500),
    "soft cap": AttentionRule(0.7, softcap=2.0),
    "sinks": AttentionRule(0.3, window=18, sinks=SINKS),
}


def cache(key_dim: int, value_dim: int, dtype: torch.dtype = torch.float32) -> PagedAttention:
    """A cache whose every slot is filled: whatever should not be seen is there to be seen."""
    made = PagedAttention(2, KV_HEADS, key_dim, value_dim, dtype, "cpu")
    made.allocate(BLOCKS)
    for part in (made._keys, made._values):
        assert isinstance(part, PlainStore)
        part.values.copy_(torch.randn(part.values.shape))
    return made


def slices(rows: int = 1) -> list[SequenceSlice]:
    order = torch.randperm(BLOCKS).tolist()
    found = []
    for number, context in enumerate(CONTEXTS):
        count = -(-(context + rows) // 16)
        found.append(SequenceSlice(number * rows, rows, context, [order.pop() for _ in range(count)], None, number))
    return found


def tables(pieces: list[SequenceSlice], columns: int) -> torch.Tensor:
    return torch.tensor([piece.blocks + piece.blocks[:1] * (columns - len(piece.blocks)) for piece in pieces])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("group", [1, 4])
@pytest.mark.parametrize("columns", [5, 12])
def test_static_tables_give_what_slices_give(rule: str, group: int, columns: int) -> None:
    torch.manual_seed(0)
    chosen, heads = RULES[rule], KV_HEADS * group
    if chosen.sinks is not None:
        chosen = AttentionRule(chosen.scale, chosen.window, sinks=SINKS[:heads])
    paged, pieces = cache(16, 24), slices()
    query = torch.randn(len(pieces), heads, 16)
    keys, values = torch.randn(len(pieces), KV_HEADS, 16), torch.randn(len(pieces), KV_HEADS, 24)
    positions = torch.tensor([piece.context for piece in pieces])
    paged.start(len(pieces), pieces)
    paged.write(1, keys, values)
    expected = paged.attend(1, query, chosen)
    static = DecodeAttention(paged, tables(pieces, columns), positions, [0, chosen.window])
    static.write(1, keys, values)
    assert torch.allclose(static.attend(1, query, chosen), expected, atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("rows", [1, 7, 40])
def test_fused_attention_gives_what_steps_give(rule: str, rows: int) -> None:
    """What slices are computed with on a GPU."""
    torch.manual_seed(1)
    results = []
    for fused in (False, True):
        torch.manual_seed(1)
        paged, pieces = cache(32, 32), slices(rows)[: 2 if rows > 30 else 5]
        paged._fused, paged._in_parts = fused, False
        query = torch.randn(rows * len(pieces), 8, 32)
        paged.start(len(query), pieces)
        paged.write(0, torch.randn(len(query), KV_HEADS, 32), torch.randn(len(query), KV_HEADS, 32))
        results.append(paged.attend(0, query, RULES[rule]))
    assert torch.allclose(results[0], results[1], atol=1e-5)


def test_fused_attention_computes_in_the_dtype_of_the_cache() -> None:
    torch.manual_seed(2)
    paged, pieces = cache(32, 32, torch.bfloat16), slices()
    query = torch.randn(len(pieces), 4, 32)
    paged.start(len(pieces), pieces)
    expected = paged.attend(0, query, RULES["plain"])
    static = DecodeAttention(paged, tables(pieces, 8), torch.tensor([piece.context for piece in pieces]), [0])
    found = static.attend(0, query, RULES["plain"])
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    assert torch.allclose(found, expected, atol=0.05)


def test_only_pages_that_a_window_reaches_are_read() -> None:
    paged = cache(16, 16)
    columns = torch.arange(BLOCKS)[None]
    for context, window in ((300, 20), (319, 1), (320, 33), (5, 20)):
        static = DecodeAttention(paged, columns, torch.tensor([context]), [window])
        span = static._spans[window]
        reached = set(range(max(context - window + 1, 0) // 16, context // 16 + 1))
        assert reached <= {slot // 16 for slot in span.slots[0].tolist()}
        assert span.slots.shape[1] <= 16 * (-(-window // 16) + 1)
        assert int(span.allowed.sum()) == min(window, context + 1)
