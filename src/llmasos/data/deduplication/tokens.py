"""Words and characters of many texts at once, as hashes: the alphabet of shingles and n-grams.

A token is a run of letters, digits and marks in scripts that write spaces, and a single character in those that do not
(Chinese, Japanese kana, Thai, Lao, Khmer, Burmese). Case, width and compatibility forms are folded first, so "Ｈｅ"
and "he" are one token. All steps are array operations, because a Python loop over words costs a microsecond a word.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Positions = NDArray[np.int64]

_SEPARATOR, _WORD, _SINGLE = 0, 1, 2
_TABLE_SIZE = 0x20000
"""Code points above are ideographs up to ``_LAST_IDEOGRAPH`` and otherwise no letters of living languages."""
_LAST_IDEOGRAPH = 0x323AF
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # ideographic iteration mark, zero
    (0x3040, 0x30FF),  # kana
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # ideographs
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of several texts, one after the other.

    Attributes:
        hashes: (tokens,) a 64-bit hash of each.
        starts, ends: (tokens,) where each stands in ``text``.
        offsets: (texts + 1,) text ``i`` has the tokens ``offsets[i]:offsets[i + 1]``.
        text: the folded texts, joined; for showing what matched.
    """

    hashes: Hashes
    starts: Positions
    ends: Positions
    offsets: Positions
    text: str

    def words(self, first: int, last: int) -> list[str]:
        """The tokens ``first:last`` as text."""
        return [self.text[self.starts[index] : self.ends[index]] for index in range(first, last)]


def fold(text: str) -> str:
    """The text without differences of case, width and compatibility forms (NFKC and Unicode case folding)."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def mix(values: Hashes) -> Hashes:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): spreads every input bit over all output bits."""
    values = values ^ (values >> np.uint64(30))
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


@cache
def _kinds() -> NDArray[np.uint8]:
    """What each code point below ``_TABLE_SIZE`` is."""
    table = np.zeros(_TABLE_SIZE, np.uint8)
    for code in range(_TABLE_SIZE):
        if unicodedata.category(chr(code))[0] in "LMN":
            table[code] = _WORD
    for first, last in _UNSPACED:
        block = table[first : last + 1]
        block[block == _WORD] = _SINGLE
    return table


def _kinds_of(codes: NDArray[np.uint32]) -> NDArray[np.uint8]:
    table = _kinds()
    if codes.size == 0 or int(codes.max()) < _TABLE_SIZE:
        return table[codes]
    kinds = table[np.minimum(codes, _TABLE_SIZE - 1)]
    high = codes >= _TABLE_SIZE
    kinds[high] = np.where(codes[high] <= _LAST_IDEOGRAPH, _SINGLE, _SEPARATOR)
    return kinds


def tokenize(texts: Sequence[str], *, window: int = 1_000_000) -> Tokens:
    """Fold the texts and find their tokens.

    Args:
        window: characters that are worked on at once; bounds the memory to some 50 MB beside the texts and tokens.
    """
    folded = [fold(text) for text in texts]
    joined = "\n".join(folded)
    pieces = list(_pieces(joined, window))
    empty = np.zeros(0, np.int64)
    starts = np.concatenate([empty, *(starts for _, starts, _ in pieces)])
    lengths = np.fromiter((len(text) + 1 for text in folded), np.int64, len(folded))
    boundaries = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return Tokens(
        hashes=np.concatenate([np.zeros(0, np.uint64), *(hashes for hashes, _, _ in pieces)]),
        starts=starts,
        ends=np.concatenate([empty, *(ends for _, _, ends in pieces)]),
        offsets=np.searchsorted(starts, boundaries).astype(np.int64),
        text=joined,
    )


def _pieces(text: str, window: int) -> Iterator[tuple[Hashes, Positions, Positions]]:
    """Hashes, starts and ends of the tokens, window by window; a window ends where no word goes on."""
    start, size = 0, window
    while start < len(text):
        codes = np.frombuffer(text[start : start + size].encode("utf-32-le", "surrogatepass"), "<u4")
        kinds = _kinds_of(codes)
        end = len(codes)
        if start + end < len(text):
            breaks = np.flatnonzero(kinds[1:] != _WORD)
            if not len(breaks):  # a word longer than the window
                size *= 2
                continue
            end = int(breaks[-1]) + 1
        yield _find(codes[:end], kinds[:end], start)
        start, size = start + end, window


def _find(codes: NDArray[np.uint32], kinds: NDArray[np.uint8], start: int) -> tuple[Hashes, Positions, Positions]:
    is_word = kinds == _WORD
    is_single = kinds == _SINGLE
    before = np.zeros_like(is_word)
    before[1:] = is_word[:-1]
    starts = np.flatnonzero((is_word & ~before) | is_single)
    after = np.zeros_like(is_word)
    after[:-1] = is_word[1:]
    ends = np.flatnonzero((is_word & ~after) | is_single) + 1
    return _hash_tokens(codes, is_word | is_single, starts, ends), starts + start, ends + start


def _hash_tokens(codes: NDArray[np.uint32], inside: NDArray[np.bool_], starts: Positions, ends: Positions) -> Hashes:
    """Sum of a hash of (character, place in the token) over the token, mixed. Places make anagrams differ."""
    if not starts.size:
        return np.zeros(0, np.uint64)
    lengths = ends - starts
    firsts = np.cumsum(lengths) - lengths
    places = np.arange(int(lengths.sum()), dtype=np.int64) - np.repeat(firsts, lengths)
    values = codes[inside].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    values += (places.astype(np.uint64) + np.uint64(1)) * np.uint64(0xD1B54A32D192ED03)
    return mix(np.add.reduceat(mix(values), firsts))
