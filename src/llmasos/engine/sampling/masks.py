"""Masks of allowed tokens: one bit per token, as llguidance gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray


def words_of(vocabulary: int) -> int:
    """32-bit words that a mask over ``vocabulary`` tokens takes."""
    return (vocabulary + 31) // 32


@dataclass(frozen=True, slots=True)
class TokenMasks:
    """Masks for some rows of a batch of logits."""

    rows: Sequence[int]
    """Rows of the logits, each at most once."""
    bits: NDArray[np.int32]
    """(len(rows), words) allowed tokens: bit ``i % 32`` of word ``i // 32`` is token ``i``. Missing words forbid."""
    reasons: Mapping[int, str] = field(default_factory=dict)
    """Row -> why its mask allows nothing, to be told instead of a general reason."""


@cache
def _addends() -> NDArray[np.float32]:
    """(256, 8) for each byte what to add to 8 logits: 0 where its bit is set, else ``-inf``."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    return np.where(bits == 1, np.float32(0), np.float32(-np.inf)).astype(np.float32)


def apply_masks(logits: NDArray[np.float32], masks: TokenMasks) -> None:
    """Give every token that is not allowed ``-inf``, in place.

    A NaN or an infinity stays visible as NaN even on a token that is not allowed.

    Args:
        logits: (rows, vocabulary).
        masks: for some of the rows.
    """
    width = logits.shape[1]
    octets = np.ascontiguousarray(masks.bits).view(np.uint8)[:, : (width + 7) // 8]
    covered = min(width, 8 * octets.shape[1])
    with np.errstate(invalid="ignore"):
        for row, allowed in zip(masks.rows, octets, strict=True):
            addends = _addends().take(allowed, axis=0, mode="clip").reshape(-1)
            logits[row, :covered] += addends[:covered]
            logits[row, covered:] = -np.inf
