"""The bootstrap: what a score could have been with other samples of the same kind (Efron 1979)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from llmasos.evaluation.metrics.aggregation import Aggregation, FloatArray
from llmasos.evaluation.statistics.normal import normal_cdf, normal_quantile

Method = Literal["bca", "percentile"]

_DRAWN_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float
    method: str
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.method} {100 * self.level:g} %"


def resampled_sums(arrays: Sequence[FloatArray], resamples: int, seed: int) -> list[FloatArray]:
    """Sums over samples drawn with replacement, as many as there are; the same draws for all arrays.

    Args:
        arrays: each (samples, columns), all with as many samples.

    Returns:
        For each array (resamples, columns).
    """
    (samples,) = {len(array) for array in arrays}
    found = [np.empty((resamples, array.shape[1])) for array in arrays]
    start = 0
    for weights in _weights(samples, resamples, seed):
        for array, sums in zip(arrays, found, strict=True):
            sums[start : start + len(weights)] = weights @ array
        start += len(weights)
    return found


def _weights(samples: int, resamples: int, seed: int) -> Iterator[FloatArray]:
    """How often each resample draws each sample, some resamples at a time: (resamples, samples)."""
    generator = np.random.default_rng(seed)
    at_once = max(1, min(resamples, _DRAWN_AT_ONCE // max(samples, 1)))
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        drawn = generator.integers(0, samples, size=(count, samples))
        drawn += samples * np.arange(count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=count * samples).reshape(count, samples).astype(np.float64)


def left_out(sums: FloatArray) -> FloatArray:
    """Sums without each sample in turn, for the jackknife: (samples, columns) to the same."""
    return np.asarray(sums.sum(axis=0) - sums)


def interval_of(
    replicates: FloatArray, value: float, jackknife: FloatArray, *, level: float = 0.95, method: Method = "bca"
) -> Interval | None:
    """The interval from the scores of resamples.

    ``bca`` corrects bias and skewness (Efron 1987, Better bootstrap confidence intervals); where nothing can be said
    about these, it is the percentile interval, and says so. Resamples for which the score is not defined are left out.

    Args:
        replicates: (resamples,).
        value: of all samples.
        jackknife: (samples,), the score without each sample.

    Returns:
        ``None`` where the score is defined for no resample.
    """
    known = replicates[np.isfinite(replicates)]
    if not len(known) or not np.isfinite(value):
        return None
    low, high = (1 - level) / 2, (1 + level) / 2
    name = "bootstrap-percentile"
    if method == "bca":
        corrected = _corrected(known, value, jackknife, (low, high))
        if corrected is not None:
            low, high = corrected
            name = "bootstrap-bca"
    bounds = np.quantile(known, (low, high))
    return Interval(float(bounds[0]), float(bounds[1]), name, level)


def _corrected(
    replicates: FloatArray, value: float, jackknife: FloatArray, quantiles: tuple[float, float]
) -> tuple[float, float] | None:
    """The quantiles to take instead; ``None`` where bias or acceleration are not defined."""
    # Half of the equal ones count as below, or scores of few values, such as means of zeros and ones, look biased.
    below = (np.sum(replicates < value) + 0.5 * np.sum(replicates == value)) / len(replicates)
    if not 0 < below < 1:
        return None
    if not np.isfinite(jackknife).all() or not np.ptp(jackknife):
        return None
    # The acceleration does not depend on the scale, and powers of perplexities of whole texts are too large for floats.
    scaled = jackknife / np.max(np.abs(jackknife))
    apart = np.mean(scaled) - scaled
    spread = np.sum(apart**2)
    if spread == 0:
        return None
    bias = normal_quantile(below)
    acceleration = np.sum(apart**3) / (6 * spread**1.5)
    found = []
    for quantile in quantiles:
        shifted = bias + normal_quantile(quantile)
        divisor = 1 - acceleration * shifted
        if divisor <= 0:
            return None
        found.append(normal_cdf(bias + shifted / divisor))
    return found[0], found[1]


def bootstrap_interval(
    sums: FloatArray,
    aggregation: Aggregation,
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    method: Method = "bca",
) -> Interval | None:
    """The interval of one score.

    Args:
        sums: (samples, columns).
    """
    (drawn,) = resampled_sums([sums], resamples, seed)
    value = float(aggregation(sums.sum(axis=0)))
    return interval_of(aggregation(drawn), value, aggregation(left_out(sums)), level=level, method=method)
