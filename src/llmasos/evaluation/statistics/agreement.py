"""How much two judges agree."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence


def consistency(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Share of cases in which both say the same; NaN without cases."""
    assert len(first) == len(second), (len(first), len(second))
    if not first:
        return math.nan
    return sum(one == two for one, two in zip(first, second, strict=True)) / len(first)


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Agreement beyond what the shares of the answers alone would give (Cohen 1960): 1 is full, 0 is chance.

    NaN without cases, and where both always say one and the same thing, for then chance explains everything.
    """
    observed = consistency(first, second)
    if math.isnan(observed):
        return math.nan
    ones, twos = Counter(first), Counter(second)
    chance = sum(count * twos[answer] for answer, count in ones.items()) / len(first) ** 2
    return math.nan if chance == 1 else (observed - chance) / (1 - chance)
