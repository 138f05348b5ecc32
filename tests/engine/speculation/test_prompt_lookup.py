"""Prompt lookup: the index against a search, and what it learns."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos.engine.speculation.prompt_lookup import NGRAMS, PromptLookup, PromptLookupProposer, bucket_of


def search(tokens: list[int]) -> tuple[int, int] | None:
    """(place after the match, length) of the latest earlier occurrence of the longest end that is looked up."""
    for size in NGRAMS:
        for start in range(len(tokens) - size - 1, -1, -1):
            if tokens[start : start + size] == tokens[-size:]:
                return start + size, size
    return None


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=30), st.lists(st.integers(0, 3), max_size=40), st.data())
def test_index_finds_what_a_search_finds(prompt: list[int], output: list[int], data: st.DataObject) -> None:
    index = PromptLookup(prompt)
    followed: tuple[int, int] | None = search(prompt)
    tokens = list(prompt)
    assert (index.source, index.matched) == (followed or (-1, 0)) or (followed is None and index.source == -1)
    while output:
        size = data.draw(st.integers(1, 3))
        for token in output[:size]:
            # A run that goes on is followed; otherwise the end is searched anew.
            going = followed is not None and tokens[followed[0]] == token
            tokens.append(token)
            followed = (followed[0] + 1, followed[1] + 1) if going and followed else search(tokens)
        output = output[size:]
        judged = list(index.update(tokens))
        assert len(judged) <= size
        assert index.source == (followed[0] if followed else -1)
        if followed:
            place, matched = followed
            assert index.matched == matched
            assert tokens[place - matched : place] == tokens[-matched:]
            expected = (tokens[place:] * 10)[:6]
            assert index.guess(tokens, 6) == expected
        else:
            assert index.guess(tokens, 6) == []


def test_guesses_that_reach_the_end_repeat_themselves() -> None:
    tokens = [9, 1, 2, 3, 1, 2, 3, 1, 2]
    index = PromptLookup(tokens)
    assert index.guess(tokens, 7) == [3, 1, 2, 3, 1, 2, 3]


def test_buckets_cover_all_lengths_in_order() -> None:
    buckets = [bucket_of(length) for length in range(100)]
    assert buckets == sorted(buckets)
    assert set(buckets) == set(range(8))


def as_sequence(identity: int, tokens: list[int]) -> Any:
    return SimpleNamespace(id=identity, tokens=tokens)


def test_records_are_kept_without_spending_a_row() -> None:
    """Chances rise while the text copies and fall while it does not, although nothing was ever proposed."""
    proposer = PromptLookupProposer()
    block = list(range(100, 150))
    copying = as_sequence(1, [*block, 7, 100, 101])
    first = proposer.chances(copying, 4)
    assert len(first) == 4
    for token in block[2:30]:
        copying.tokens.append(token)
        proposer.chances(copying, 4)
    assert proposer.chances(copying, 4)[0] > max(first[0], 0.9)

    deceptive = as_sequence(2, [5, 6, 0])
    chances = []
    for number in range(200):  # "5 6" is always followed by something new
        deceptive.tokens += [5, 6]
        chances += proposer.chances(deceptive, 1)
        deceptive.tokens.append(1000 + number)
    assert chances[-1] < 0.1 < chances[0]
    proposer.forget(copying)
    proposer.forget(deceptive)
    assert not proposer._indexes
