"""How well a model predicts text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np

from llmasos.errors import InvalidRequest
from llmasos.evaluation.metrics.aggregation import BITS, Aggregation, FloatArray
from llmasos.evaluation.metrics.base import Context, Metric
from llmasos.evaluation.metrics.score import Score, aggregated
from llmasos.evaluation.records import Record
from llmasos.i18n import t

_LOSS = Aggregation("exponential_loss")


class Perplexity(Metric):
    """Perplexity per token, word and byte over all texts together, and bits per byte. Samples that failed are left out.

    Only figures per word and byte can be compared between models with different tokenizers. ``sample_perplexity`` takes
    every sample as one unit, which is what lm-evaluation-harness calls the perplexity of LAMBADA.
    """

    name: ClassVar[str] = "perplexity"

    def compute(self, records: Sequence[Record], context: Context) -> dict[str, Score]:
        likelihoods = _column(record.loglikelihood for record in records)
        known = np.isfinite(likelihoods)
        if not known.any():
            raise InvalidRequest(
                t("perplexity needs log-likelihoods of texts, and no sample has one"),
                hint=t("Choose it for tasks of the kind perplexity."),
            )
        units = {
            "perplexity": _column(record.token_count for record in records),
            "word_perplexity": _column(record.word_count for record in records),
            "byte_perplexity": _column(record.byte_count for record in records),
        }

        def score(per: FloatArray, aggregation: Aggregation) -> Score:
            sums = np.where(known[:, None], np.stack([likelihoods, per], axis=-1), 0.0)
            return aggregated(
                sums, aggregation, per_sample=np.where(known, aggregation(sums), np.nan), higher_is_better=False,
                samples=int(known.sum()),
            )  # fmt: skip

        return {
            **{name: score(per, _LOSS) for name, per in units.items()},
            "bits_per_byte": score(units["byte_perplexity"], BITS),
            "sample_perplexity": score(np.ones(len(records)), _LOSS),
        }


def _column(values: Iterable[float | None]) -> FloatArray:
    return np.asarray([np.nan if value is None else value for value in values], dtype=np.float64)
