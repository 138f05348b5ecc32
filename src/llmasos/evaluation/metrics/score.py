"""One number of a run, and what its interval and its comparison are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmasos.evaluation.metrics.aggregation import RATIO, Aggregation, FloatArray


@dataclass(frozen=True, eq=False)
class Score:
    """A score. Scores that come from the same sums share the array."""

    value: float
    sums: FloatArray | None
    """(samples, columns): what each sample adds to the sums; ``None``: the score is no function of sums, and there is
    no interval."""
    aggregation: Aggregation | None
    """From summed columns to the value."""
    per_sample: FloatArray | None = None
    """(samples,): the score of each sample alone; NaN where it has none. Ranks samples in comparisons."""
    signature: str | None = None
    higher_is_better: bool = True
    samples: int = 0
    """Samples that the score rests on."""

    @property
    def is_proportion(self) -> bool:
        """Whether the score is the mean of zeros and ones."""
        if self.aggregation != RATIO or self.sums is None:
            return False
        numerator, denominator = self.sums[:, 0], self.sums[:, 1]
        return bool(np.isin(denominator, (0, 1)).all() and np.isin(numerator, (0, 1)).all())


def mean(values: Sequence[float] | FloatArray, *, signature: str | None = None, higher_is_better: bool = True) -> Score:
    """The mean over samples.

    Args:
        values: (samples,); NaN leaves a sample out.
    """
    each = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(each)
    sums = np.stack([np.where(known, each, 0.0), known.astype(np.float64)], axis=-1)
    return aggregated(
        sums, RATIO, per_sample=each, signature=signature, higher_is_better=higher_is_better, samples=int(known.sum())
    )


def aggregated(
    sums: FloatArray,
    aggregation: Aggregation,
    *,
    per_sample: FloatArray | None = None,
    signature: str | None = None,
    higher_is_better: bool = True,
    samples: int | None = None,
) -> Score:
    """A score of all samples from what each adds to the sums.

    Args:
        sums: (samples, columns).
        samples: how many the score rests on; default: all.
    """
    value = float(aggregation(sums.sum(axis=0)))
    count = len(sums) if samples is None else samples
    return Score(value, sums, aggregation, per_sample, signature, higher_is_better, count)
