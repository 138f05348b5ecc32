"""Which texts share a pass: everybody is served, budgets hold, padding stays small."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmasos.engine.encoder.grouping import PASS_TOKENS, Length, choose_batch

lengths = st.builds(
    Length,
    st.integers(1, 600),
    st.integers(0, 1),
    st.one_of(st.none(), st.integers(1, 5)),
)


@given(st.lists(lengths, min_size=1, max_size=80), st.integers(1, 4000), st.integers(1, 40))
def test_budgets_kinds_and_padding(line: list[Length], most_tokens: int, most_rows: int) -> None:
    batch = choose_batch(line, most_tokens=most_tokens, most_rows=most_rows)
    chosen = [line[place] for place in batch]
    assert 0 in batch, "the first in line is always served"
    assert len(set(batch)) == len(batch)
    assert len({item.kind for item in chosen}) == 1
    longest = max(item.tokens for item in chosen)
    assert len(batch) == 1 or len(batch) * longest <= most_tokens
    assert len(batch) <= min([most_rows, *(item.most_rows for item in chosen if item.most_rows)])
    # Every text but the first came at the price of at most one pass.
    padding = sum(longest - item.tokens for item in chosen)
    assert padding <= PASS_TOKENS * (len(batch) - 1)


@given(st.lists(lengths, min_size=1, max_size=40))
def test_everybody_is_served(line: list[Length]) -> None:
    passes = 0
    while line:
        gone = set(choose_batch(line, most_tokens=2000, most_rows=16))
        line = [item for place, item in enumerate(line) if place not in gone]
        passes += 1
    assert passes <= 40


def test_equal_lengths_go_together_and_very_different_ones_do_not() -> None:
    assert len(choose_batch([Length(20)] * 30, most_tokens=10_000, most_rows=64)) == 30
    line = [Length(500), *[Length(10)] * 20]
    assert choose_batch(line, most_tokens=100_000, most_rows=64) == [0]
    line = [Length(10)] * 20 + [Length(500)]
    assert sorted(choose_batch(line, most_tokens=100_000, most_rows=64)) == list(range(20))
