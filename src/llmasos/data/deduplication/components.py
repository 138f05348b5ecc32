"""Connected components by union-find, whole arrays of edges at a time."""

from __future__ import annotations

import numpy as np

from llmasos.data.deduplication.tokens import Positions


class Components:
    """Disjoint sets of the numbers below ``size``; each is named by its smallest member. Eight bytes a number.

    The result does not depend on the order in which edges arrive. Hooking and pointer jumping as in Shiloach and
    Vishkin (1982): every round links roots to smaller roots, so a batch of edges takes a logarithmic number of rounds.
    """

    def __init__(self, size: int) -> None:
        self._parents = np.arange(size, dtype=np.int64)

    def find(self, members: Positions) -> Positions:
        """The smallest member of each one's set."""
        roots = self._parents[members]
        while True:
            above = self._parents[roots]
            if np.array_equal(above, roots):
                break
            roots = above
        self._parents[members] = roots
        return roots

    def union(self, left: Positions, right: Positions) -> None:
        """Join the sets of ``left[i]`` and ``right[i]``, for all ``i``."""
        while len(left):
            first, second = self.find(left), self.find(right)
            apart = first != second
            if not apart.any():
                return
            left, right, first, second = left[apart], right[apart], first[apart], second[apart]
            np.minimum.at(self._parents, np.maximum(first, second), np.minimum(first, second))
