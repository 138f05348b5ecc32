"""Which tokens a sequence holds and how often, kept up to date token by token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class TokenCounts:
    """Distinct tokens of a sequence with their number of occurrences in the output.

    A token of the prompt has count 0 until the output repeats it. Arrays grow by doubling, so :meth:`append` is O(1)
    and a penalty costs one vectorised operation over the distinct tokens, never a walk over the sequence.
    """

    __slots__ = ("_counts", "_ids", "_size", "_slots")

    def __init__(self, prompt_ids: Sequence[int]) -> None:
        distinct = np.unique(np.asarray(prompt_ids, dtype=np.int64))
        self._size = len(distinct)
        capacity = max(64, 2 * self._size)
        self._ids = np.zeros(capacity, dtype=np.int64)
        self._ids[: self._size] = distinct
        self._counts = np.zeros(capacity, dtype=np.float32)
        self._slots = {token: slot for slot, token in enumerate(distinct.tolist())}

    def append(self, token: int) -> None:
        """Count one more token of the output."""
        slot = self._slots.get(token)
        if slot is None:
            slot = self._size
            if slot == len(self._ids):
                self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)])
                self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
            self._ids[slot] = token
            self._counts[slot] = 0
            self._slots[token] = slot
            self._size += 1
        self._counts[slot] += 1

    def mark(self) -> int:
        """Number of distinct tokens now, to hand to :meth:`undo`."""
        return self._size

    def undo(self, tokens: Sequence[int], mark: int) -> None:
        """Take back the latest :meth:`append` calls: ``tokens`` are theirs, ``mark`` was taken before the first."""
        for token in tokens:
            self._counts[self._slots[token]] -= 1
        for slot in range(mark, self._size):
            del self._slots[int(self._ids[slot])]
        self._size = mark

    def apply(self, row: NDArray[np.float32], repetition: float, frequency: float, presence: float) -> None:
        """Change the logits of the counted tokens in place.

        Args:
            row: (vocabulary,) logits.
            repetition: divides positive and multiplies negative logits (CTRL, arXiv:1909.05858, section 4.1).
            frequency: subtracted once per occurrence in the output.
            presence: subtracted once if the token occurs in the output.
        """
        ids = self._ids[: self._size]
        values = row[ids]
        if repetition != 1.0:
            values = np.where(values > 0, values / np.float32(repetition), values * np.float32(repetition))
        if frequency or presence:
            counts = self._counts[: self._size]
            values -= np.float32(frequency) * counts
            values -= np.float32(presence) * (counts > 0)
        row[ids] = values
