"""Guesses copied from what the sequence already contains.

Prompt lookup (Saxena 2023; in transformers as ``prompt_lookup_num_tokens``): text that repeats its prompt, such as
edited code, summaries and answers from documents, is guessed by finding where its latest tokens occurred before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from llmasos.engine.sequence import Sequence as TokenSequence

NGRAMS = (5, 3, 2)
"""Lengths of the ends that are looked up, longest first."""
# Ends are keyed by a polynomial hash modulo 2**64; two that collide cost a wrong guess, never a wrong output.
_MASK = (1 << 64) - 1
_BASE = 0x9E3779B97F4A7C15
_BUCKETS = 8
_TRUST = 6.0  # weight of what other sequences have shown, in tokens
_MEMORY = 0.97  # how much a sequence's own record keeps per token


class PromptLookup:
    """Index of one sequence: where each short run of tokens occurred last. O(1) per token.

    It follows a run: while the sequence goes on as the place that was found, the match grows, and the longer it is
    the more can be trusted to follow.
    """

    __slots__ = ("_last", "hits", "matched", "seen", "source", "tries")

    def __init__(self, tokens: Sequence[int]) -> None:
        """Index ``tokens`` (the prompt) at once, in vectorised form."""
        self._last: dict[int, int] = {}
        self.source = -1
        """Place of the token that is expected next; -1 when there is no guess."""
        self.matched = 0
        """How many tokens before that place equal the end of the sequence."""
        self.hits = [0.0] * _BUCKETS
        self.tries = [0.0] * _BUCKETS
        """Guesses of the next token and how many were right, by length of the match; older ones count less."""
        self.seen = len(tokens)
        array = np.asarray(tokens, dtype=np.uint64)
        for size in NGRAMS:
            count = len(tokens) - size  # the end itself is looked up first, then entered
            if count > 0:
                keys = _keys(array, size, count)
                self._last.update(zip(keys, range(size, size + count), strict=True))
        self._look_up(tokens, len(tokens))

    def update(self, tokens: Sequence[int]) -> Iterable[tuple[int, bool]]:
        """Take the tokens that were added since the last call.

        Returns:
            For each of them that was guessed: the bucket of the match, and whether the guess was right.
        """
        judged: list[tuple[int, bool]] = []
        for place in range(self.seen, len(tokens)):
            if self.source >= 0:
                bucket = bucket_of(self.matched)
                hit = tokens[self.source] == tokens[place]
                judged.append((bucket, hit))
                self.tries[bucket] = self.tries[bucket] * _MEMORY + 1.0
                self.hits[bucket] = self.hits[bucket] * _MEMORY + hit
                if hit:
                    self.source += 1
                    self.matched += 1
                else:
                    self.source = -1
            self._look_up(tokens, place + 1)
        self.seen = len(tokens)
        return judged

    def _look_up(self, tokens: Sequence[int], end: int) -> None:
        """Find where the end of ``tokens[:end]`` occurred before, unless a run is being followed; then enter it."""
        for size in NGRAMS:
            if end < size:
                continue
            key = size
            for token in tokens[end - size : end]:
                key = (key * _BASE + token + 1) & _MASK
            if self.source < 0:
                found = self._last.get(key)
                if found is not None:
                    self.source, self.matched = found, size
            self._last[key] = end

    def guess(self, tokens: Sequence[int], count: int) -> list[int]:
        """The next ``count`` tokens, if the sequence goes on as it did at the place that was found."""
        if self.source < 0:
            return []
        guessed = list(tokens[self.source : self.source + count])
        period = len(tokens) - self.source
        while len(guessed) < count:  # the copy reaches the end of the sequence: it repeats itself
            guessed.append(guessed[len(guessed) - period])
        return guessed


def bucket_of(matched: int) -> int:
    """Which record a match of this length belongs to: lengths 0 to 2, 3, 4, 5, 6 to 8, 9 to 16, 17 to 32, more."""
    if matched <= 5:
        return max(0, matched - 2)
    return min(_BUCKETS - 1, 4 + (matched > 8) + (matched > 16) + (matched > 32))


def _keys(tokens: NDArray[np.uint64], size: int, count: int) -> list[int]:
    """Hashes of the first ``count`` runs of ``size`` tokens; NumPy's whole numbers wrap at 2**64 by themselves."""
    keys = np.full(count, size, dtype=np.uint64)
    for offset in range(size):
        keys = keys * np.uint64(_BASE) + tokens[offset : offset + count] + np.uint64(1)
    found: list[int] = keys.tolist()
    return found


class PromptLookupProposer:
    """Prompt lookup for all sequences of an engine."""

    seconds_per_token = 0.0

    def __init__(self) -> None:
        self._indexes: dict[int, PromptLookup] = {}
        # What guesses were worth so far, over all sequences. It starts low for short matches: learning costs nothing
        # here, because guesses are compared with what comes also when they are not proposed.
        self._hits = [0.6, 1.2, 1.8, 2.2, 2.8, 3.2, 3.6, 3.6]
        self._tries = [4.0] * _BUCKETS

    def chances(self, sequence: TokenSequence, limit: int) -> list[float]:
        """See :class:`~llmasos.engine.speculation.speculator.Proposer`."""
        index = self._indexes.get(sequence.id)
        if index is None:
            index = self._indexes[sequence.id] = PromptLookup(sequence.tokens)
        elif index.seen != len(sequence.tokens):
            for bucket, hit in index.update(sequence.tokens):
                self._tries[bucket] = self._tries[bucket] * _MEMORY + 1.0
                self._hits[bucket] = self._hits[bucket] * _MEMORY + hit
        if index.source < 0:
            return []
        chances: list[float] = []
        for ahead in range(limit):
            bucket = bucket_of(index.matched + ahead)
            common = self._hits[bucket] / self._tries[bucket]
            chances.append((index.hits[bucket] + _TRUST * common) / (index.tries[bucket] + _TRUST))
        return chances

    def propose(self, wishes: Sequence[tuple[TokenSequence, int]]) -> list[list[int]]:
        """See :class:`~llmasos.engine.speculation.speculator.Proposer`."""
        return [self._indexes[sequence.id].guess(sequence.tokens, count) for sequence, count in wishes]

    def verified(self, sequence: TokenSequence, proposed: int, accepted: int) -> None:
        """Nothing to do: every token is compared with its guess when it comes, also when it was not proposed."""

    def forget(self, sequence: TokenSequence) -> None:
        """Drop what is kept of a sequence that has ended."""
        self._indexes.pop(sequence.id, None)
