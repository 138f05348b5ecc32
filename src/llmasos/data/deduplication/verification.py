"""Verified pairs among entries that agree in a band: true Jaccard similarity of their shingles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmasos.data.deduplication.components import Components
from llmasos.data.deduplication.decisions import PAIR
from llmasos.data.deduplication.minhash import agreement
from llmasos.data.deduplication.notes import Array, mapped, note_path
from llmasos.data.deduplication.tokens import Hashes, Positions

_ELEMENTS = 2_000_000
"""Shingles that are compared at once; bounds the memory to some 100 MB."""
_ROWS = 500_000
"""Sketches that are compared at once."""


class EntryStore:
    """The shingles and sketches of all entries, left on disk."""

    def __init__(self, folder: Path, shards: Sequence[int | str], sketch_bytes: int) -> None:
        def files(name: str, kind: str) -> list[Array]:
            return [mapped(note_path(folder, name, shard), kind) for shard in shards]

        self._shingles = files("shingles", "<u4")
        self._sketches = [part.reshape(-1, sketch_bytes) for part in files("sketches", "u1")]
        sizes = files("sizes", "<u4")
        self.first = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(part) for part in sizes])])
        self.sizes = np.concatenate(sizes)
        self._starts = np.concatenate([np.cumsum(part, dtype=np.int64) - part for part in sizes])

    def _shards(self, entries: Positions) -> Positions:
        return (np.searchsorted(self.first, entries, side="right") - 1).astype(np.int64)

    def agreement(self, left: Positions, right: Positions) -> Positions:
        """In how many values the sketches of each pair agree."""
        result = np.empty(len(left), np.int64)
        for start in range(0, len(left), _ROWS):
            chosen = slice(start, start + _ROWS)
            result[chosen] = agreement(self._sketch(left[chosen]), self._sketch(right[chosen]))
        return result

    def _sketch(self, entries: Positions) -> NDArray[np.uint8]:
        return _take(self._sketches, self._shards(entries), entries - self.first[self._shards(entries)])

    def gather(self, entries: Positions) -> NDArray[np.uint32]:
        """The shingles of these entries, one after the other."""
        lengths = self.sizes[entries].astype(np.int64)
        begins = np.cumsum(lengths) - lengths
        places = np.arange(int(lengths.sum()), dtype=np.int64)
        places += np.repeat(self._starts[entries] - begins, lengths)
        return _take(self._shingles, np.repeat(self._shards(entries), lengths), places)

    def jaccard(self, left: Positions, right: Positions) -> NDArray[np.float64]:
        """Similarity of each pair: shared shingles over all shingles of both (Jaccard, 1901)."""
        result = np.empty(len(left))
        cost = np.cumsum(self.sizes[left].astype(np.int64) + self.sizes[right])
        start = 0
        while start < len(left):
            spent = int(cost[start - 1]) if start else 0
            end = max(start + 1, int(np.searchsorted(cost, spent + _ELEMENTS, side="right")))
            result[start:end] = self._jaccard(left[start:end], right[start:end])
            start = end
        return result

    def _jaccard(self, left: Positions, right: Positions) -> NDArray[np.float64]:
        numbers = np.arange(len(left), dtype=np.uint64) << np.uint64(32)
        sizes_left, sizes_right = self.sizes[left].astype(np.int64), self.sizes[right].astype(np.int64)
        keys = np.concatenate(
            [
                np.repeat(numbers, sizes_left) | self.gather(left),
                np.repeat(numbers, sizes_right) | self.gather(right),
            ]
        )
        keys.sort()
        shared = (keys[1:][keys[1:] == keys[:-1]] >> np.uint64(32)).astype(np.int64)
        both = np.bincount(shared, minlength=len(left))
        return both / (sizes_left + sizes_right - both)


def _take(parts: Sequence[Array], shards: Positions, places: Positions) -> Array:
    """``parts[shards[i]][places[i]]`` for all ``i``."""
    present = np.unique(shards)
    if len(present) == 1:
        return np.asarray(parts[int(present[0])][places])
    result = np.empty((len(places), *parts[0].shape[1:]), parts[0].dtype)
    for shard in present:
        mine = shards == shard
        result[mine] = parts[int(shard)][places[mine]]
    return result


@dataclass
class PairFinder:
    """Finds duplicates among entries with equal keys. Pairs that are known to be in one group are not compared again.

    Attributes:
        other: entries below this number are other data and not compared with each other.
        within: whether entries of the data are compared with each other.
        most_leaders: how many entries of one band's group are compared with all others of it. Only groups that stay
            apart although they agree in a band need more than a few; what is left out then is counted.
        least_agreement: values of the sketches in which a pair must agree to be worth a comparison.
    """

    store: EntryStore
    components: Components
    threshold: float
    other: int
    within: bool
    most_leaders: int
    least_agreement: int
    compared: int = 0
    not_compared: int = 0
    pairs: list[Array] = field(default_factory=list)

    def add_band(self, keys: Hashes) -> None:
        """Compare the entries that agree in a band.

        Every group is worked on in rounds: its first member is compared with all others, then its second with those
        after it, and so on until all are in one component or all were compared. All groups share each round.
        """
        entries = np.flatnonzero(self.store.sizes)
        entries = entries[np.argsort(keys[entries], kind="stable")]
        sorted_keys = keys[entries]
        same = np.zeros(len(entries) + 1, np.bool_)
        same[1:-1] = sorted_keys[1:] == sorted_keys[:-1]
        grouped = same[:-1] | same[1:]
        members = entries[grouped]
        heads = np.flatnonzero(~same[:-1][grouped])
        leader = 0
        while len(heads):
            lengths = np.diff(np.append(heads, len(members)))
            roots = self.components.find(members)
            apart = np.minimum.reduceat(roots, heads) != np.maximum.reduceat(roots, heads)
            apart &= lengths > leader + 1
            members = members[np.repeat(apart, lengths)]
            lengths = lengths[apart]
            heads = np.cumsum(lengths) - lengths
            if not len(heads):
                return
            if leader >= self.most_leaders:
                left = lengths.astype(np.int64) - leader
                self.not_compared += int((left * (left - 1) // 2).sum())
                return
            self._round(members, heads, lengths, leader)
            leader += 1

    def _round(self, members: Positions, heads: Positions, lengths: Positions, leader: int) -> None:
        leaders = np.repeat(members[heads + leader], lengths)
        later = np.arange(len(members)) - np.repeat(heads, lengths) > leader
        left, right = leaders[later], members[later]
        useful = self.components.find(left) != self.components.find(right)
        crosses = (left < self.other) & (right >= self.other)
        useful &= (crosses | (left >= self.other)) if self.within else crosses
        small, large = (
            np.minimum(self.store.sizes[left], self.store.sizes[right]),
            np.maximum(self.store.sizes[left], self.store.sizes[right]),
        )
        useful &= small >= self.threshold * large
        left, right = left[useful], right[useful]
        if not len(left):
            return
        close = self.store.agreement(left, right) >= self.least_agreement
        left, right = left[close], right[close]
        if not len(left):
            return
        self.compared += len(left)
        similarity = self.store.jaccard(left, right)
        alike = similarity >= self.threshold
        pairs = np.empty(int(alike.sum()), PAIR)
        pairs["first"], pairs["second"], pairs["similarity"] = left[alike], right[alike], similarity[alike]
        self.pairs.append(pairs)
        self.components.union(left[alike], right[alike])

    def found(self) -> Array:
        return np.concatenate(self.pairs) if self.pairs else np.zeros(0, PAIR)
