"""The normal distribution."""

from __future__ import annotations

from statistics import NormalDist

_STANDARD = NormalDist()


def normal_quantile(probability: float) -> float:
    """The value below which a standard normal variable is with this probability, between 0 and 1."""
    return _STANDARD.inv_cdf(float(probability))


def normal_cdf(value: float) -> float:
    """The probability that a standard normal variable is below the value."""
    return _STANDARD.cdf(float(value))
