"""The exact distribution that a row of logits and a request's parameters define.

This is the definition: the faster ways of the batch sampler are tested against it and fall back to it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmasos.engine.request import SamplingParameters
from llmasos.engine.sampling.noise import Words, exponentials

Ids = NDArray[np.int64]
Probabilities = NDArray[np.float64]


def row_distribution(row: NDArray[np.float32], parameters: SamplingParameters) -> tuple[Ids, Probabilities]:
    """Temperature and truncation of one row of (edited) logits.

    Args:
        row: (vocabulary,) logits; ``-inf`` marks tokens that are not allowed, at least one is finite.
        parameters: of the request; only temperature and the truncations are used.

    Returns:
        The tokens that can be drawn and their probabilities, which sum to 1.
    """
    if parameters.greedy:
        return np.array([int(row.argmax())], dtype=np.int64), np.ones(1)
    ids = np.flatnonzero(row > -np.inf).astype(np.int64)
    scaled = (row[ids].astype(np.float64) - row.max()) / max(parameters.temperature, 1e-30)
    if 0 < parameters.top_k < len(ids):
        kth = np.partition(scaled, len(ids) - parameters.top_k)[len(ids) - parameters.top_k]
        keep = scaled >= kth
        ids, scaled = ids[keep], scaled[keep]
    chances = np.exp(scaled)
    chances /= chances.sum()
    if parameters.top_p < 1.0:
        keep = nucleus(chances, parameters.top_p)
        ids, chances = ids[keep], chances[keep]
    if parameters.min_p > 0.0:
        keep = chances >= parameters.min_p * chances.max()
        ids, chances = ids[keep], chances[keep]
    if parameters.typical_p < 1.0:
        keep = typical(chances / chances.sum(), parameters.typical_p)
        ids, chances = ids[keep], chances[keep]
    return ids, chances / chances.sum()


def nucleus(chances: Probabilities, mass: float) -> NDArray[np.int64]:
    """Indices of the fewest likeliest entries that reach ``mass``, likeliest first (top-p, arXiv:1904.09751)."""
    order = np.argsort(-chances, kind="stable")
    ranked = chances[order]
    before = np.cumsum(ranked) - ranked
    return order[before < mass]


def typical(chances: Probabilities, mass: float) -> NDArray[np.bool_]:
    """Which entries are locally typical: those whose surprise is nearest to the entropy, until ``mass`` is reached.

    Meister et al., Locally Typical Sampling, arXiv:2202.00666; ties with the last are kept, as transformers does.
    """
    surprise = -np.log(np.maximum(chances, np.finfo(np.float64).tiny))
    distance = np.abs(surprise - float((chances * surprise).sum()))
    order = np.argsort(distance, kind="stable")
    last = min(int((np.cumsum(chances[order]) < mass).sum()), len(order) - 1)
    kept: NDArray[np.bool_] = distance <= distance[order[last]]
    return kept


def race(chances: Probabilities, ids: Ids, words: Words) -> NDArray[np.int64]:
    """Draw one entry of each row: the largest quotient of chance and an exponential number of its own.

    The exponential race (Gumbel-max trick): entry i wins with probability chance i over their sum. Each token keeps
    its number at a position, so small changes of the chances (another batch, another kernel, a draft model) rarely
    change the winner, whereas inversion of the cumulative distribution shifts all that follow.

    Args:
        chances: (rows, n) at least one positive per row; they need not sum to 1.
        ids: (rows, n) tokens, which choose the numbers.
        words: (rows,) random bits.

    Returns:
        (rows,) index of the winner.
    """
    winners: NDArray[np.int64] = (chances / exponentials(words, ids)).argmax(axis=-1)
    return winners
