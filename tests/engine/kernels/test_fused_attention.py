"""Attention of a pass on a CPU against the definition, row by row: shared beginnings, chunks, windows, every cache."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos.engine.batch import SequenceSlice
from llmasos.engine.kernels.decoder import BLOCK_SIZE
from llmasos.engine.kernels.paged_attention import AttentionRule, PagedAttention

KV_HEADS, GROUP, DIM = 2, 3, 16
BLOCKS = 64
RULE = AttentionRule(DIM**-0.5)


def cache(dtype: torch.dtype = torch.float32) -> PagedAttention:
    torch.manual_seed(0)
    made = PagedAttention(1, KV_HEADS, DIM, DIM, dtype, "cpu")
    made.allocate(BLOCKS)
    slots = torch.arange(BLOCKS * BLOCK_SIZE)
    made.store(0, slots, torch.randn(len(slots), KV_HEADS, DIM), torch.randn(len(slots), KV_HEADS, DIM))
    return made


def batch(*sequences: tuple[int, int, list[int]]) -> list[SequenceSlice]:
    """Slices from (rows, context, blocks); blocks that are missing are the sequence's own."""
    found, start, free = [], 0, BLOCKS
    for number, (length, context, blocks) in enumerate(sequences):
        wanted = -(-(context + length) // BLOCK_SIZE)
        own = list(range(free - (wanted - len(blocks)), free))
        free -= len(own)
        found.append(SequenceSlice(start, length, context, [*blocks, *own], None, number))
        start += length
    return found


def expected(
    made: PagedAttention, slices: list[SequenceSlice], query: torch.Tensor, rule: AttentionRule
) -> torch.Tensor:
    """One row after the other."""
    out = torch.empty(len(query), KV_HEADS * GROUP, DIM)
    for piece in slices:
        for offset in range(piece.length):
            last = piece.context + offset
            first = max(last - rule.window + 1, 0) if rule.window else 0
            slots = torch.tensor(
                [
                    piece.blocks[place // BLOCK_SIZE] * BLOCK_SIZE + place % BLOCK_SIZE
                    for place in range(first, last + 1)
                ]
            )
            keys, values = (item[0].float().repeat_interleave(GROUP, 0) for item in made.load(0, slots[None]))
            row = made.transformed(query[piece.start + offset])
            weights = (torch.einsum("hd,htd->ht", row, keys) * rule.scale).softmax(-1)
            out[piece.start + offset] = torch.einsum("ht,htd->hd", weights, values)
    return out


def attended(
    made: PagedAttention, slices: list[SequenceSlice], query: torch.Tensor, rule: AttentionRule
) -> torch.Tensor:
    made.start(len(query), slices)
    return made.attend(0, query, rule)


SHARED = [3, 9, 1, 7, 5, 2]
BATCHES = {
    "one row": [(1, 0, [])],
    "decode": [(1, 5, []), (1, 40, []), (1, 16, [])],
    "chunks": [(7, 0, []), (20, 33, []), (2, 15, [])],
    "shared, decode": [(1, 96, SHARED), (1, 130, SHARED), (1, 110, SHARED)],
    "shared, mixed": [(1, 97, SHARED), (1, 5, []), (9, 96, SHARED), (30, 120, SHARED), (4, 3, [])],
    "two groups": [(1, 96, SHARED), (1, 70, [11, 12, 13, 14]), (5, 99, SHARED), (1, 90, [11, 12, 13, 14])],
    "shared and then not": [(1, 120, [3, 9, 1, 7, 20]), (1, 120, [3, 9, 1, 7, 21]), (3, 64, [3, 9, 1, 7])],
    "too little shared": [(1, 60, [3, 9]), (1, 70, [3, 9])],
    "its last block is shared": [(1, 79, SHARED[:5]), (1, 79, SHARED[:5])],
}  # fmt: skip


@pytest.mark.parametrize("window", [0, 5, 40])
@pytest.mark.parametrize("name", BATCHES)
def test_equals_the_definition(name: str, window: int) -> None:
    made, slices, rule = cache(), batch(*BATCHES[name]), replace(RULE, window=window)
    query = torch.randn(sum(piece.length for piece in slices), KV_HEADS * GROUP, DIM)
    torch.testing.assert_close(attended(made, slices, query, rule), expected(made, slices, query, rule))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.int8])
def test_equals_the_definition_in_other_formats(dtype: torch.dtype) -> None:
    made, slices = cache(dtype), batch(*BATCHES["shared, mixed"])
    query = torch.randn(sum(piece.length for piece in slices), KV_HEADS * GROUP, DIM)
    torch.testing.assert_close(attended(made, slices, query, RULE), expected(made, slices, query, RULE))


def test_what_is_shared_is_computed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    made, slices = cache(), batch(*BATCHES["shared, mixed"])
    made.start(sum(piece.length for piece in slices), slices)
    seen: list[tuple[int, ...]] = []
    load = made.load
    monkeypatch.setattr(made, "load", lambda layer, slots: seen.append(tuple(slots.shape)) or load(layer, slots))
    made.attend(0, torch.randn(45, KV_HEADS * GROUP, DIM), RULE)
    assert (1, 96) in seen and max(columns for _, columns in seen) == 96
    assert sum(rows * columns for rows, columns in seen) < sum(piece.context + piece.length for piece in slices)


def test_garbage_behind_a_sequence_is_not_read() -> None:
    made, slices = cache(), batch(*BATCHES["shared, decode"])
    query = torch.randn(3, KV_HEADS * GROUP, DIM)
    want = expected(made, slices, query, RULE)
    used = {slot for piece in slices for slot in range(piece.context + 1)
            for slot in [piece.blocks[slot // BLOCK_SIZE] * BLOCK_SIZE + slot % BLOCK_SIZE]}  # fmt: skip
    unused = torch.tensor([slot for slot in range(BLOCKS * BLOCK_SIZE) if slot not in used])
    bad = torch.full((len(unused), KV_HEADS, DIM), float("nan"))
    made.store(0, unused, bad, bad)
    torch.testing.assert_close(attended(made, slices, query, RULE), want)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 90), st.integers(0, 6)), min_size=1, max_size=5),
       st.sampled_from([0, 17]))  # fmt: skip
def test_any_batch(sequences: list[tuple[int, int, int]], window: int) -> None:
    given_slices = [
        (length, context, SHARED[: min(shared, context // BLOCK_SIZE)]) for length, context, shared in sequences
    ]
    made, slices, rule = cache(), batch(*given_slices), replace(RULE, window=window)
    query = torch.randn(sum(piece.length for piece in slices), KV_HEADS * GROUP, DIM)
    torch.testing.assert_close(attended(made, slices, query, rule), expected(made, slices, query, rule))
