"""MinHash signatures and their bands (Broder, 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, 3.4).

The permutations are those of datasketch 2 (scheme ``affine32``: ``a * fmix32(h) + b`` modulo 2^32 with odd ``a``), so
that the signatures are equal to its own for the same seed and the same 32-bit hashes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmasos.data.deduplication.shingles import ShingleSets
from llmasos.data.deduplication.tokens import Hashes, mix

Signatures = NDArray[np.uint32]

EMPTY = np.uint32(0xFFFFFFFF)
"""The signature of a text without shingles."""


@dataclass(frozen=True, slots=True)
class Bands:
    """How a signature is cut: ``count`` bands of ``rows`` values each."""

    count: int
    rows: int

    def chance(self, similarity: float) -> float:
        """Probability that two texts of this Jaccard similarity agree in at least one band."""
        return float(1 - (1 - similarity**self.rows) ** self.count)


def choose_bands(threshold: float, permutations: int, recall: float) -> Bands:
    """The longest bands (fewest pairs to verify) that still find pairs at the threshold with probability ``recall``."""
    for rows in range(permutations, 1, -1):
        bands = Bands(permutations // rows, rows)
        if bands.chance(threshold) >= recall:
            return bands
    return Bands(permutations, 1)


@dataclass(frozen=True, slots=True)
class Permutations:
    """Random permutations of 32-bit numbers: ``h -> multipliers * fmix32(h) + increments``."""

    multipliers: Signatures
    increments: Signatures

    @classmethod
    def make(cls, count: int, seed: int) -> Permutations:
        """The permutations that ``datasketch.MinHash(num_perm=count, seed=seed)`` uses."""
        generator = np.random.RandomState(seed)
        multipliers = generator.randint(0, 1 << 31, count, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
        return cls(multipliers, generator.randint(0, 1 << 32, count, dtype=np.uint32))

    def signatures(self, sets: ShingleSets) -> Signatures:
        """(texts, permutations): the smallest value of each permutation over the shingles of each text."""
        result = np.full((len(sets.offsets) - 1, len(self.multipliers)), EMPTY, np.uint32)
        filled = np.flatnonzero(np.diff(sets.offsets))
        if not len(filled):
            return result
        starts = sets.offsets[filled]
        hashes = _fmix32(sets.hashes)
        values = np.empty_like(hashes)
        for place, (multiplier, increment) in enumerate(zip(self.multipliers, self.increments, strict=True)):
            np.multiply(hashes, multiplier, out=values)
            np.add(values, increment, out=values)
            result[filled, place] = np.minimum.reduceat(values, starts)
        return result


def _fmix32(values: Signatures) -> Signatures:
    """The 32-bit finalizer of MurmurHash3 (Appleby, public domain)."""
    values = values ^ (values >> np.uint32(16))
    values *= np.uint32(0x85EBCA6B)
    values ^= values >> np.uint32(13)
    values *= np.uint32(0xC2B2AE35)
    return values ^ (values >> np.uint32(16))


def sketches(signatures: Signatures) -> NDArray[np.uint8]:
    """(texts, bytes): two bits of each value of the signatures, packed (b-bit minwise hashing, Li and Koenig, 2010).

    Two texts of similarity ``s`` agree in ``s + (1 - s) / 4`` of the values on average.
    """
    values = (signatures * np.uint32(0x9E3779B1)) >> np.uint32(30)
    bits = np.stack([values >> np.uint32(1), values & np.uint32(1)], axis=2).astype(np.uint8)
    return np.packbits(bits.reshape(len(signatures), -1), axis=1)


def agreement(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.int64]:
    """In how many values the sketches of each pair agree (padding at the end counts as agreeing)."""
    same = ~(left ^ right)
    counts = np.bitwise_count(same & (same >> np.uint8(1)) & np.uint8(0x55))
    return np.asarray(counts.sum(axis=1, dtype=np.int64), np.int64)


def least_agreement(threshold: float, permutations: int) -> int:
    """Values in which sketches at the threshold agree, but for three pairs in a million (4.5 sigma)."""
    share = threshold + (1 - threshold) / 4
    return max(0, math.floor(permutations * share - 4.5 * math.sqrt(permutations * share * (1 - share))))


def band_keys(signatures: Signatures, bands: Bands) -> Hashes:
    """(bands, texts): a 64-bit hash of each band of each signature; equal bands have equal keys."""
    keys = np.empty((bands.count, len(signatures)), np.uint64)
    for band in range(bands.count):
        key = np.full(len(signatures), band, np.uint64)
        for row in range(bands.rows):
            key = mix(key * np.uint64(0x9E3779B97F4A7C15) + signatures[:, band * bands.rows + row])
        keys[band] = key
    return keys
