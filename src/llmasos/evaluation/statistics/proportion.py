"""Intervals of proportions."""

from __future__ import annotations

import math

from llmasos.evaluation.statistics.bootstrap import Interval
from llmasos.evaluation.statistics.normal import normal_quantile


def wilson_interval(successes: int, trials: int, *, level: float = 0.95) -> Interval:
    """The score interval of Wilson 1927 for a proportion.

    It keeps its level for few trials and at 0 and 100 %, where a bootstrap finds an interval without width (Brown, Cai
    and DasGupta 2001, Interval estimation for a binomial proportion).
    """
    assert 0 <= successes <= trials, (successes, trials)
    assert trials > 0
    z = normal_quantile((1 + level) / 2)
    share = successes / trials
    below = 1 + z * z / trials
    center = (share + z * z / (2 * trials)) / below
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / below
    # Exact at the ends, where rounding would leave the rest of a difference of equal numbers.
    low = 0.0 if successes == 0 else center - half
    high = 1.0 if successes == trials else center + half
    return Interval(low, high, "wilson", level)
