"""Two models on the same samples: is the difference more than chance?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmasos.evaluation.metrics.aggregation import Aggregation, FloatArray
from llmasos.evaluation.statistics.bootstrap import Interval, interval_of, left_out, resampled_sums
from llmasos.evaluation.statistics.normal import normal_quantile


@dataclass(frozen=True)
class Difference:
    """The score of the second minus that of the first."""

    value: float
    interval: Interval | None
    p_value: float
    """Two-sided: how often a difference as large arises where there is none."""
    standard_error: float
    test: str


def paired_bootstrap(
    first: FloatArray,
    second: FloatArray,
    aggregation: Aggregation,
    *,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """Draws samples, and with each the sums of both models, so that what is hard for both does not count as noise.

    The p-value counts how often the difference of a resample is as far from the one observed as that is from 0 (Efron
    and Tibshirani 1993, chapter 16; for machine translation Koehn 2004, Statistical significance tests for machine
    translation evaluation).

    Args:
        first: (samples, columns).
        second: (samples, columns), the same samples in the same order.
    """
    assert first.shape[0] == second.shape[0], (first.shape, second.shape)
    one, two = resampled_sums([first, second], resamples, seed)
    replicates = aggregation(two) - aggregation(one)
    value = float(aggregation(second.sum(axis=0)) - aggregation(first.sum(axis=0)))
    known = replicates[np.isfinite(replicates)]
    if not len(known) or not math.isfinite(value):
        return Difference(value, None, 1.0, math.nan, "paired-bootstrap")
    jackknife = aggregation(left_out(second)) - aggregation(left_out(first))
    # What differs by rounding alone is as far.
    as_far = np.sum(np.abs(known - value) >= abs(value) * (1 - 1e-12))
    return Difference(
        value,
        interval_of(replicates, value, jackknife, level=level),
        float((as_far + 1) / (len(known) + 1)),
        float(known.std(ddof=1)) if len(known) > 1 else math.nan,
        "paired-bootstrap",
    )


@dataclass(frozen=True)
class McNemar:
    """How two models that are right or wrong differ."""

    only_first: int
    """Samples that the first alone has right."""
    only_second: int
    exact: float
    """p-value of the exact test."""
    mid_p: float
    """p-value with half the weight on the outcome itself."""


def mcnemar(first: Sequence[bool] | FloatArray, second: Sequence[bool] | FloatArray) -> McNemar:
    """The test of McNemar 1947: of the samples on which two models differ, each has half where they are equally good.

    The exact test never rejects too often, and is thus often too careful; the mid-p test keeps its level in practice
    and finds more (Fagerland, Lydersen and Laake 2013, The McNemar test for binary matched-pairs data).

    Args:
        first: (samples,) right or wrong.
        second: (samples,), the same samples in the same order.
    """
    one, two = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    assert one.shape == two.shape, (one.shape, two.shape)
    only_first, only_second = int(np.sum(one & ~two)), int(np.sum(~one & two))
    differing = only_first + only_second
    if differing == 0:
        return McNemar(0, 0, 1.0, 1.0)
    fewer = min(only_first, only_second)
    tail = math.exp(_log_tail(fewer, differing))
    outcome = math.exp(_log_probability(fewer, differing))
    # With as many on both sides, both tails hold the outcome, and all of them together are more than everything.
    exact = min(1.0, 2 * tail)
    mid_p = min(1.0, 2 * tail - outcome) if only_first != only_second else 1 - outcome / 2
    return McNemar(only_first, only_second, exact, mid_p)


def _log_probability(successes: int, trials: int) -> float:
    """Logarithm of the probability of so many heads of a fair coin."""
    return (
        math.lgamma(trials + 1)
        - math.lgamma(successes + 1)
        - math.lgamma(trials - successes + 1)
        - trials * math.log(2)
    )


def _log_tail(successes: int, trials: int) -> float:
    """Logarithm of the probability of at most so many heads."""
    terms = np.asarray([_log_probability(count, trials) for count in range(successes + 1)])
    return float(np.logaddexp.reduce(terms))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values made honest for being several (Holm 1979): the chance of any false finding among them stays below the
    level at which they are read. In the order given."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def minimum_detectable(standard_error: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true difference that a two-sided test at ``alpha`` finds with probability ``power``.

    Normal approximation (Miller 2024, Adding error bars to evals, section 5).

    Args:
        standard_error: of the paired difference.
    """
    return (normal_quantile(1 - alpha / 2) + normal_quantile(power)) * standard_error


def fewest_one_sided(alpha: float = 0.05) -> int:
    """The fewest differing samples, all in favour of one model, with which McNemar's mid-p test can find a difference
    at ``alpha``. With n samples no difference below this number divided by n can be found at all."""
    count = 1
    # All on one side: both tails have 2^-count, of which mid-p counts half.
    while 2.0**-count >= alpha:
        count += 1
    return count
