"""pass@k."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from llmasos.errors import InvalidRequest
from llmasos.evaluation.metrics.base import Context, Metric
from llmasos.evaluation.metrics.score import Score, mean
from llmasos.evaluation.records import Record
from llmasos.i18n import t


class PassAtK(Metric):
    """How likely one of k programs passes the tests. A sample that failed to run counts as not passed."""

    name: ClassVar[str] = "pass_at_k"
    k: tuple[int, ...] | None = Field(
        None, min_length=1, description="Values of k; default: those of 1, 10 and 100 for which there are programs."
    )

    def compute(self, records: Sequence[Record], context: Context) -> dict[str, Score]:
        made = [len(record.passed) for record in records if record.passed is not None]
        fewest = min(made, default=1)
        wanted = self.k if self.k is not None else tuple(k for k in (1, 10, 100) if k <= fewest)
        if any(not 1 <= k <= fewest for k in wanted):
            raise InvalidRequest(
                t("pass_at_k: k = {k}, and there are {count} programs to a prompt", k=max(wanted), count=fewest),
                hint=t("Set generation.samples of the task to the largest k at least."),
            )
        return {
            f"pass@{k}": mean([
                0.0 if record.passed is None else pass_at_k(len(record.passed), sum(record.passed), k)
                for record in records
            ])
            for k in wanted
        }  # fmt: skip


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """The unbiased estimate of Chen et al. 2021 (Evaluating large language models trained on code, section 2.1):
    1 - C(samples - passed, k) / C(samples, k), as a product that cannot overflow.
    """
    if samples - passed < k:
        return 1.0
    factors = 1.0 - k / np.arange(samples - passed + 1, samples + 1)
    return float(1.0 - np.prod(factors))
