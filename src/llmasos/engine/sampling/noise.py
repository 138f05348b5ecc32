"""Random numbers that are a function of seed, position and token, so that a draw needs no state.

Words are the output of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014),
which can be entered at any place because its state is a plain counter: one stream per seed and choice gives a word
per position, and a stream started from that word gives a number per token.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MASK = 0xFFFFFFFFFFFFFFFF
_GAMMA = 0x9E3779B97F4A7C15
_CHOICE = 0xD1B54A32D192ED03  # another odd constant: choices of one seed must not walk along one sequence
_UNIT = 2.0**-53

Words = NDArray[np.uint64]


def _mix(state: int) -> int:
    """SplitMix64's output function: a bijection on 64 bits."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


def stream_key(seed: int, choice: int = 0) -> int:
    """Start of the stream of words for output ``choice`` of a request with ``seed``; any whole number is a seed."""
    return _mix((_mix(seed & _MASK) + (choice + 1) * _CHOICE) & _MASK)


def word_at(key: int, position: int) -> int:
    """The 64 random bits that belong to the token at ``position`` of the output."""
    return _mix((key + (position + 1) * _GAMMA) & _MASK)


def exponentials(words: Words, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """Exponentially distributed numbers, one for each token of each row.

    Args:
        words: (rows,) from :func:`word_at`.
        tokens: (rows, n) from -1 up; -1 stands for all tokens that are not listed.

    Returns:
        (rows, n) positive and finite, mean 1.
    """
    state = words[:, None] + (tokens + 2).astype(np.uint64) * np.uint64(_GAMMA)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    # Half a unit keeps the logarithm away from 0 and 1.
    numbers: NDArray[np.float64] = -np.log(((state >> np.uint64(11)).astype(np.float64) + 0.5) * _UNIT)
    return numbers


def uniform(word: int) -> float:
    """A number in [0, 1) from a word, independent of its :func:`exponentials`."""
    return (_mix((word + _CHOICE) & _MASK) >> 11) * _UNIT
