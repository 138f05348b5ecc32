"""Whether a model is as sure as it is right."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from llmasos.errors import InvalidRequest
from llmasos.evaluation.metrics.aggregation import Aggregation, FloatArray
from llmasos.evaluation.metrics.base import Context, Metric
from llmasos.evaluation.metrics.score import Score, aggregated, mean
from llmasos.evaluation.records import Record
from llmasos.i18n import t

_SMALLEST = sys.float_info.min
"""Probabilities that underflow count as this in the logarithm."""


class Calibration(Metric):
    """Expected calibration error, Brier score and negative log-likelihood of the right choice.

    Probabilities are the softmax of the log-probabilities of the choices. Samples with several right choices, and those
    that failed, are left out.

    Sources: Naeini et al. 2015, Obtaining well calibrated probabilities using Bayesian binning (ECE); Brier 1950,
    Verification of forecasts expressed in terms of probability, in its form for several classes: 0 to 2.
    """

    name: ClassVar[str] = "calibration"
    bins: int = Field(15, ge=2, le=1000, description="Bins of confidence.")
    binning: Literal["width", "mass"] = Field(
        "width", description="Bins of equal width from 0 to 1, or with equally many samples."
    )

    def compute(self, records: Sequence[Record], context: Context) -> dict[str, Score]:
        given = [_probabilities(record) for record in records]
        known = np.asarray([entry is not None for entry in given])
        if not known.any():
            raise InvalidRequest(
                t("calibration needs the log-probabilities of choices, and no sample has them"),
                hint=t("Choose it for tasks of the kinds choice and classification."),
            )
        confidence, hit, brier, loss = np.full((4, len(records)), np.nan)
        for place, (record, probabilities) in enumerate(zip(records, given, strict=True)):
            if probabilities is None:
                continue
            target = record.target
            assert target is not None
            chosen = int(np.argmax(probabilities))
            truth = np.zeros(len(probabilities))
            truth[target] = 1
            confidence[place], hit[place] = probabilities[chosen], float(chosen == target)
            brier[place] = ((probabilities - truth) ** 2).sum()
            loss[place] = -math.log(max(float(probabilities[target]), _SMALLEST))
        edges = self._edges(confidence[known])
        bins = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, self.bins - 1)
        sums = np.zeros((len(records), self.bins + 1))
        sums[known, bins[known]] = (confidence - hit)[known]
        sums[:, -1] = known
        error = aggregated(
            sums, Aggregation("calibration_error"), per_sample=np.abs(confidence - hit), higher_is_better=False,
            signature=f"bins:{self.bins}|binning:{self.binning}", samples=int(known.sum()),
        )  # fmt: skip
        return {
            "ece": error,
            "brier": mean(brier, higher_is_better=False),
            "nll": mean(loss, higher_is_better=False),
        }

    def _edges(self, confidence: FloatArray) -> FloatArray:
        """Edges of the bins (bins + 1,); a bin holds what is above its lower edge and not above its upper one."""
        if self.binning == "width":
            return np.linspace(0, 1, self.bins + 1)
        edges = np.quantile(confidence, np.linspace(0, 1, self.bins + 1))
        edges[0] = 0.0
        return edges


def _probabilities(record: Record) -> FloatArray | None:
    """(choices,); ``None``: there are none, or no single right choice."""
    logprobs = record.choice_logprobs
    if logprobs is None or record.target is None or len(record.details.get("targets", ())) > 1:
        return None
    values = np.asarray(logprobs, dtype=np.float64)
    if not np.isfinite(values.max()):
        return None
    weights = np.exp(values - values.max())
    return np.asarray(weights / weights.sum())
