"""Guesses of a small model with the same vocabulary as the large one."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from llmasos.engine.batch import Batch, SequenceSlice
from llmasos.engine.sampler import Sampler

if TYPE_CHECKING:
    import torch

    from llmasos.engine.runner import ModelRunner
    from llmasos.engine.sequence import Sequence as TokenSequence

_ROWS = 512  # most rows of one pass of the draft model; longer prompts are taken in over several calls
_PRIOR = 0.65  # chance of a guess before anything is known
_PRIOR_WEIGHT = 8.0
_TRUST = 6.0  # weight of what other sequences have shown, in guesses
_MEMORY = 0.97
# A record fades also while nothing is guessed: what was not worth it is tried again after some hundred passes.
_FADING = 0.995


class _Shadow:
    """What the draft model's cache holds of one sequence."""

    __slots__ = ("computed", "guessed", "guessed_from", "hits", "table", "tries")

    def __init__(self) -> None:
        self.table: list[int] = []
        self.computed = 0
        self.guessed_from = 0
        self.guessed: list[int] = []
        """Guesses whose keys and values were computed after ``guessed_from`` tokens of the sequence."""
        self.hits = 0.0
        self.tries = 0.0

    def rewind(self, tokens: Sequence[int]) -> None:
        """Keep as much of the cache as belongs to ``tokens``; the rest is written over."""
        right = self.guessed_from
        for guess in self.guessed:
            if right >= len(tokens) or tokens[right] != guess:
                break
            right += 1
        if self.guessed:
            self.computed = min(self.computed, right)
            self.guessed = []
        # The last token is computed in any case: its logits are what the first guess comes from.
        self.computed = min(self.computed, len(tokens) - 1)


class DraftModelProposer:
    """Runs a draft model ahead of the large one, for all sequences in one batch.

    Guesses are drawn with the numbers that the sampler will use for the same positions, under the same parameters.
    """

    def __init__(self, runner: ModelRunner, blocks: int, *, vocabulary_size: int) -> None:
        """Args:
        runner: the draft model; its cache is allocated here.
        blocks: size of its cache.
        vocabulary_size: columns of the large model's logits; ids beyond are never guessed.
        """
        runner.allocate_cache(blocks)
        self._runner = runner
        self._free = list(range(blocks))
        self._vocabulary_size = vocabulary_size
        self._shadows: OrderedDict[int, _Shadow] = OrderedDict()  # least recently used first
        self._sampler = Sampler()
        self._hits = _PRIOR * _PRIOR_WEIGHT
        self._tries = _PRIOR_WEIGHT
        self.seconds_per_token = 0.0

    def chances(self, sequence: TokenSequence, limit: int) -> list[float]:
        """See :class:`~llmasos.engine.speculation.speculator.Proposer`."""
        if len(sequence.tokens) + limit > self._runner.context_length:
            return []
        shadow = self._shadow(sequence)
        shadow.hits *= _FADING
        shadow.tries *= _FADING
        common = self._hits / self._tries
        return [(shadow.hits + _TRUST * common) / (shadow.tries + _TRUST)] * limit

    def propose(self, wishes: Sequence[tuple[TokenSequence, int]]) -> list[list[int]]:
        """See :class:`~llmasos.engine.speculation.speculator.Proposer`."""
        wanted = {sequence.id for sequence, _ in wishes}
        guesses: dict[int, list[int]] = {sequence.id: [] for sequence, _ in wishes}
        left = _ROWS
        active: list[tuple[TokenSequence, int]] = []
        first: list[tuple[TokenSequence, list[int]]] = []
        for sequence, count in wishes:
            shadow = self._shadow(sequence)
            shadow.rewind(sequence.tokens)
            pending = sequence.tokens[shadow.computed : shadow.computed + left]
            if not pending or not self._reserve(shadow, len(sequence.tokens) + count, wanted):
                continue
            left -= len(pending)
            first.append((sequence, pending))
            if shadow.computed + len(pending) == len(sequence.tokens):
                active.append((sequence, count))
        if not first:
            return list(guesses.values())
        logits = self._forward(first, {sequence.id for sequence, _ in active})
        started = time.perf_counter()
        made = 0
        while active:
            states = [sequence.output.sampling for sequence, _ in active]
            tokens = self._sampler.sample(
                self._cut(logits), states, assumed=[guesses[sequence.id] for sequence, _ in active], logprobs=False
            ).tokens
            following: list[tuple[TokenSequence, int]] = []
            for (sequence, count), token in zip(active, tokens, strict=True):
                if token < 0:
                    continue
                guesses[sequence.id].append(token)
                made += 1
                if len(guesses[sequence.id]) < count and token not in sequence.output.sampling.end_ids:
                    following.append((sequence, count))
            active = following
            if active:
                rows = [(sequence, [guesses[sequence.id][-1]]) for sequence, _ in active]
                logits = self._forward(rows, {sequence.id for sequence, _ in active})
        if made:
            # The first pass also takes in what was accepted; what one more guess costs is a later pass's share.
            spent = (time.perf_counter() - started) / made
            self.seconds_per_token += 0.1 * (spent - self.seconds_per_token) if self.seconds_per_token else spent
        for sequence, _ in wishes:
            shadow = self._shadows[sequence.id]
            shadow.guessed_from = len(sequence.tokens)
            shadow.guessed = guesses[sequence.id][: max(0, shadow.computed - len(sequence.tokens))]
        return list(guesses.values())

    def verified(self, sequence: TokenSequence, proposed: int, accepted: int) -> None:
        """See :class:`~llmasos.engine.speculation.speculator.Proposer`."""
        tries = accepted + (accepted < proposed)
        shadow = self._shadow(sequence)
        keep = _MEMORY**tries
        shadow.hits = shadow.hits * keep + accepted
        shadow.tries = shadow.tries * keep + tries
        self._hits = _PRIOR * _PRIOR_WEIGHT + (self._hits - _PRIOR * _PRIOR_WEIGHT) * keep + accepted
        self._tries = _PRIOR_WEIGHT + (self._tries - _PRIOR_WEIGHT) * keep + tries

    def forget(self, sequence: TokenSequence) -> None:
        """Free the cache of a sequence that has ended."""
        shadow = self._shadows.pop(sequence.id, None)
        if shadow is not None:
            self._free += shadow.table

    def _shadow(self, sequence: TokenSequence) -> _Shadow:
        shadow = self._shadows.get(sequence.id)
        if shadow is None:
            shadow = self._shadows[sequence.id] = _Shadow()
        self._shadows.move_to_end(sequence.id)
        return shadow

    def _reserve(self, shadow: _Shadow, tokens: int, wanted: set[int]) -> bool:
        """Blocks for ``tokens`` tokens, if need be those of sequences that wish for nothing now."""
        needed = -(-tokens // self._runner.block_size) - len(shadow.table)
        if needed > len(self._free):
            for identity, other in self._shadows.items():
                if identity in wanted:
                    continue
                self._free += other.table
                other.table, other.computed, other.guessed = [], 0, []
                if needed <= len(self._free):
                    break
            else:
                return False
        for _ in range(needed):
            shadow.table.append(self._free.pop())
        return True

    def _forward(self, parts: Sequence[tuple[TokenSequence, list[int]]], wanted: set[int]) -> torch.Tensor:
        """Compute the given tokens of each sequence; logits after the last one of those that are wanted."""
        import torch

        tokens: list[int] = []
        positions: list[int] = []
        slices: list[SequenceSlice] = []
        rows: list[int] = []
        for sequence, new in parts:
            shadow = self._shadows[sequence.id]
            slices.append(SequenceSlice(len(tokens), len(new), shadow.computed, shadow.table, None, sequence.id, None))
            tokens += new
            positions += range(shadow.computed, shadow.computed + len(new))
            shadow.computed += len(new)
            if sequence.id in wanted:
                rows.append(len(tokens) - 1)
        batch = Batch(
            torch.from_numpy(np.array(tokens, dtype=np.int64)),
            torch.from_numpy(np.array(positions, dtype=np.int64)),
            slices,
            torch.from_numpy(np.array(rows, dtype=np.int64)),
        )
        return self._runner.forward(batch)

    def _cut(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits over the large model's vocabulary."""
        import torch

        width = self._vocabulary_size
        if logits.shape[1] < width:
            return torch.nn.functional.pad(logits, (0, width - logits.shape[1]), value=float("-inf"))
        return logits[:, :width]
