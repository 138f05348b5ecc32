"""Drawing many rows at once. Every function gives for each row what the row alone would have given.

A result of ``BROKEN`` says that the row has no finite largest logit: NaN, infinity, or nothing allowed.

All functions but the greedy one take ``rows`` (rows, vocabulary): edited logits; ``settings`` of the rows; and
``words`` (rows,): random bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmasos.engine.request import SamplingParameters
from llmasos.engine.sampling.candidates import largest
from llmasos.engine.sampling.distribution import race, row_distribution, typical
from llmasos.engine.sampling.noise import Words, exponentials, uniform

BROKEN = -1
_FRONT = 64  # tokens of a row without truncation that race one by one; the others race as one
_NUCLEUS_SIZES = (128, 2048)  # candidates tried before a row's whole vocabulary is sorted
_TYPICAL_SIZE = 1024
_STEEPEST = 1e30  # largest 1 / temperature: float32 logits times this stay finite, and all but the largest vanish

_LOG2_E = float(np.log2(np.e))

Rows = NDArray[np.float32]
Tokens = NDArray[np.int64]
Floats = NDArray[np.float64]


class Settings:
    """The parameters of the rows of one group as columns."""

    __slots__ = ("inverse_temperature", "min_p", "parameters", "top_k", "top_p", "typical_p")

    def __init__(self, parameters: Sequence[SamplingParameters]) -> None:
        self.parameters = parameters
        table = np.array(
            [(row.temperature, row.top_p, row.min_p, row.typical_p, row.top_k) for row in parameters],
            dtype=np.float64,
        ).T
        self.inverse_temperature: Floats = np.minimum(1.0 / np.maximum(table[0], 1.0 / _STEEPEST), _STEEPEST)
        self.top_p: Floats = table[1]
        self.min_p: Floats = table[2]
        self.typical_p: Floats = table[3]
        self.top_k: Tokens = table[4].astype(np.int64)

    def __len__(self) -> int:
        return len(self.parameters)

    def select(self, rows: Tokens) -> Settings:
        """Those of some rows."""
        return Settings([self.parameters[row] for row in rows.tolist()])


def draw_greedy(rows: Rows) -> Tokens:
    """The largest entry of each row, the lowest column among equals. NumPy's argmax is 7 times as fast as torch's."""
    tokens: Tokens = rows.argmax(axis=-1)
    best = rows[np.arange(len(rows)), tokens]
    tokens[~np.isfinite(best)] = BROKEN
    return tokens


def draw_candidates(rows: Rows, settings: Settings, words: Words) -> Tokens:
    """Rows with ``top_k``: only that many candidates are looked at."""
    ks = np.minimum(settings.top_k, rows.shape[1])
    values, ids = largest(rows, int(ks.max()))
    sound = np.isfinite(values[:, 0])
    kth = values[np.arange(len(ks)), np.minimum(ks, values.shape[1]) - 1]
    with np.errstate(invalid="ignore"):
        chances = np.where(values >= kth[:, None], _powers(values, values[:, 0], settings), 0.0)
        tokens = _draw_ranked(chances, ids, settings, words)
    tokens[~sound] = BROKEN
    return tokens


def draw_nucleus(rows: Rows, settings: Settings, words: Words) -> Tokens:
    """Rows with ``top_p`` and without ``top_k``: as many candidates as their mass asks for."""
    tokens = np.full(len(settings), BROKEN, dtype=np.int64)
    pending = np.arange(len(settings))
    totals: Floats | None = None
    for size in _NUCLEUS_SIZES:
        if 4 * size > rows.shape[1] or not len(pending):
            break
        chosen = settings if len(pending) == len(settings) else settings.select(pending)
        values, ids = largest(rows if chosen is settings else rows[pending], size)
        if totals is None:
            totals = _totals(rows, values[:, 0], settings)
        with np.errstate(invalid="ignore"):
            chances = _powers(values, values[:, 0], chosen) / totals[pending, None]
        reached = chances.sum(axis=-1) >= chosen.top_p
        if reached.any():
            done = pending[reached]
            tokens[done] = _draw_ranked(chances[reached], ids[reached], settings.select(done), words[done], total=1.0)
        pending = pending[~reached & np.isfinite(values[:, 0])]
    for index in pending.tolist():
        tokens[index] = _draw_alone(rows, settings, words, index)
    return tokens


def draw_dense(rows: Rows, settings: Settings, words: Words) -> Tokens:
    """Rows with temperature and perhaps ``min_p``.

    The likeliest tokens race one by one, and all the others as one entrant with the sum of their chances; if that
    one wins, the token is drawn among them by inversion.
    """
    values, ids = largest(rows, _FRONT)
    values, ids = values[:, :_FRONT], ids[:, :_FRONT]
    top, lines = values[:, 0], np.arange(len(rows))
    sound = np.isfinite(top)
    with np.errstate(invalid="ignore"):
        front = _powers(values, top, settings)
        front = np.where(front >= settings.min_p[:, None], front, 0.0)  # the largest is 1
        # Tokens behind the front are there unless its last entries are at nothing, or below the floor, already.
        open_ended = sound & (front[:, -1] > 0.0) & (front.shape[1] < rows.shape[1])
        behind = np.where(open_ended, _totals(rows, top, settings, open_ended) - front.sum(axis=-1), 0.0)
        scores = front / exponentials(words, ids)
        best = scores.argmax(axis=-1)
        others = behind / exponentials(words, np.full((len(rows), 1), -1))[:, 0]
    tokens: Tokens = ids[lines, best]
    for index in np.flatnonzero(others > scores[lines, best]).tolist():
        rest = np.exp((rows[index] - top[index]) * np.float32(settings.inverse_temperature[index]))
        rest[ids[index]] = 0.0
        rest[rest < settings.min_p[index]] = 0.0
        cumulative = rest.cumsum(dtype=np.float64)
        mass = float(cumulative[-1])
        # With a floor the others are fewer than was taken into account: they race with what they have.
        if mass * others[index] > behind[index] * scores[index, best[index]]:
            tokens[index] = int(cumulative.searchsorted(uniform(int(words[index])) * mass, side="right"))
    tokens[~sound] = BROKEN
    return tokens


def draw_typical(rows: Rows, settings: Settings, words: Words) -> Tokens:
    """Rows with ``typical_p`` as their only truncation: the tokens whose surprise is nearest to the entropy."""
    tokens = np.full(len(settings), BROKEN, dtype=np.int64)
    tops = rows.max(axis=-1)
    for index in np.flatnonzero(np.isfinite(tops)).tolist():
        scaled = (rows[index] - tops[index]) * np.float32(settings.inverse_temperature[index])
        chances = np.exp(scaled)
        total = chances.sum()
        chances /= total
        with np.errstate(invalid="ignore"):
            mean = np.where(chances > 0, chances * scaled, np.float32(0)).sum()
        distance = np.abs(scaled - mean)  # surprise and entropy both contain log(total), which cancels
        size = min(_TYPICAL_SIZE, len(distance) - 1)
        ids = np.argpartition(distance, size)[:size].astype(np.int64) if size else np.zeros(0, dtype=np.int64)
        ids = ids[np.argsort(distance[ids], kind="stable")]
        found = chances[ids].astype(np.float64)
        last = int((found.cumsum() < settings.typical_p[index]).sum())
        if last < size - 1 and distance[ids[last]] < distance[ids[-1]]:
            kept = int((distance[ids] <= distance[ids[last]]).sum())
            tokens[index] = ids[race(found[None, :kept], ids[None, :kept], words[index : index + 1])[0]]
        else:
            tokens[index] = _draw_alone(rows, settings, words, index)
    return tokens


def draw_general(rows: Rows, settings: Settings, words: Words) -> Tokens:
    """Rows with any parameters, one after the other."""
    tokens = np.full(len(settings), BROKEN, dtype=np.int64)
    for index in np.flatnonzero(np.isfinite(rows.max(axis=-1))).tolist():
        tokens[index] = _draw_alone(rows, settings, words, index)
    return tokens


def _draw_alone(rows: Rows, settings: Settings, words: Words, index: int) -> int:
    ids, chances = row_distribution(rows[index], settings.parameters[index])
    return int(ids[race(chances[None], ids[None], words[index : index + 1])[0]])


def _draw_ranked(
    chances: Floats, ids: Tokens, settings: Settings, words: Words, *, total: float | None = None
) -> Tokens:
    """Apply ``top_p``, ``min_p`` and ``typical_p`` to candidates ranked by (unnormalised) chance, then draw.

    Args:
        chances: (rows, candidates), largest first.
        ids: (rows, candidates) tokens.
        settings: of the rows.
        words: (rows,) random bits.
        total: mass of the whole distribution; default: of the candidates.
    """
    if (settings.top_p < 1.0).any():
        cumulative = chances.cumsum(axis=-1)
        whole = cumulative[:, -1] if total is None else total
        limits = np.where(settings.top_p < 1.0, settings.top_p * whole, np.inf)
        chances = np.where(cumulative - chances < limits[:, None], chances, 0.0)
    if settings.min_p.any():
        chances = np.where(chances >= (settings.min_p * chances[:, 0])[:, None], chances, 0.0)
    if (settings.typical_p < 1.0).any():
        for index in np.flatnonzero((settings.typical_p < 1.0) & (chances[:, 0] > 0)).tolist():
            held = np.flatnonzero(chances[index])
            kept = typical(chances[index, held] / chances[index, held].sum(), float(settings.typical_p[index]))
            chances[index, held[~kept]] = 0.0
    tokens: Tokens = ids[np.arange(len(ids)), race(chances, ids, words)]
    return tokens


def _powers(values: Rows, tops: Rows, settings: Settings) -> Floats:
    """(rows, n) chances after temperature, with the largest at 1."""
    scaled = (values.astype(np.float64) - tops[:, None]) * settings.inverse_temperature[:, None]
    powers: Floats = np.exp(scaled)
    return powers


def _totals(rows: Rows, tops: Rows, settings: Settings, wanted: NDArray[np.bool_] | None = None) -> Floats:
    """(rows,) sums of the chances of the whole vocabulary, with the largest at 1; 1 for rows not wanted or broken."""
    totals = np.ones(len(rows))
    memory = np.empty(rows.shape[1], dtype=np.float32)  # one row at a time stays in the cache
    for index in np.flatnonzero(np.isfinite(tops) if wanted is None else wanted).tolist():
        np.subtract(rows[index], tops[index], out=memory)
        np.multiply(memory, np.float32(settings.inverse_temperature[index] * _LOG2_E), out=memory)
        totals[index] = np.exp2(memory, out=memory).sum()  # takes half the time of exp
    return totals
