"""Shingles: the set of runs of tokens that stands for a text when texts are compared (Broder, 1997)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmasos.data.deduplication.tokens import Hashes, Positions, Tokens, mix

_STEP = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True)
class ShingleSets:
    """Sets of shingles of several texts.

    Attributes:
        hashes: 32-bit hashes, rising and unique within each text. Two different shingles of a pair of texts share a
            hash with probability 2^-32: the similarity of two texts of 10,000 shingles is off by 1e-6.
        offsets: (texts + 1,) text ``i`` has ``hashes[offsets[i]:offsets[i + 1]]``.
    """

    hashes: NDArray[np.uint32]
    offsets: Positions

    def only(self, chosen: NDArray[np.bool_]) -> ShingleSets:
        """The same sets, empty where not chosen."""
        sizes = np.diff(self.offsets)
        return ShingleSets(
            hashes=self.hashes[np.repeat(chosen, sizes)],
            offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(np.where(chosen, sizes, 0))]),
        )


def _multiplier(place: int) -> np.uint64:
    """An odd number for each place in a run, so that the order of tokens counts."""
    return np.uint64(int(mix(np.array([(place + 1) * _STEP & (1 << 64) - 1], np.uint64))[0]) | 1)


def run_hashes(tokens: Hashes, length: int) -> Hashes:
    """A hash of every run of ``length`` tokens: entry ``i`` is that of ``tokens[i:i + length]``."""
    count = len(tokens) - length + 1
    if count <= 0:
        return np.zeros(0, np.uint64)
    total = tokens[:count] * _multiplier(0)
    for place in range(1, length):
        total += tokens[place : place + count] * _multiplier(place)
    return mix(total)


def shingle_sets(tokens: Tokens, size: int) -> ShingleSets:
    """The shingles of ``size`` tokens of every text; a shorter text has one, all of it; an empty one has none."""
    counts = np.diff(tokens.offsets)
    texts = len(counts)
    runs = np.maximum(counts - size + 1, 0)
    owners = np.repeat(np.arange(texts, dtype=np.int64), runs)
    places = np.arange(len(owners), dtype=np.int64) - np.repeat(np.cumsum(runs) - runs, runs)
    hashes = run_hashes(tokens.hashes, size)[tokens.offsets[owners] + places] if len(owners) else np.zeros(0, np.uint64)
    short = np.flatnonzero((counts > 0) & (counts < size))
    if len(short):
        owners = np.concatenate([owners, short])
        hashes = np.concatenate([hashes, _short_hashes(tokens, short, counts[short])])
    keys = np.unique((owners.astype(np.uint64) << np.uint64(32)) | (hashes >> np.uint64(32)))
    found = np.bincount((keys >> np.uint64(32)).astype(np.int64), minlength=texts)
    return ShingleSets(
        hashes=(keys & np.uint64(0xFFFFFFFF)).astype(np.uint32),
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(found)]),
    )


def _short_hashes(tokens: Tokens, texts: Positions, counts: Positions) -> Hashes:
    total = np.zeros(len(texts), np.uint64)
    for place in range(int(counts.max())):
        there = counts > place
        total[there] += tokens.hashes[tokens.offsets[texts[there]] + place] * _multiplier(place)
    return mix(total)
