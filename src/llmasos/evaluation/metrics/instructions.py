"""How well instructions were followed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from llmasos.errors import InvalidRequest
from llmasos.evaluation.metrics.aggregation import RATIO
from llmasos.evaluation.metrics.base import Context, Metric
from llmasos.evaluation.metrics.score import Score, aggregated, mean
from llmasos.evaluation.records import Record
from llmasos.i18n import t


class InstructionFollowing(Metric):
    """Share of prompts all of whose instructions were followed, and of instructions; strict and loose.

    Loose also tries the answer without its first or last line and without asterisks (Zhou et al. 2023, IFEval). A
    sample that failed to run counts as not followed.
    """

    name: ClassVar[str] = "instruction_following"

    def compute(self, records: Sequence[Record], context: Context) -> dict[str, Score]:
        scores: dict[str, Score] = {}
        for level in ("prompt", "instruction"):
            for how in ("strict", "loose"):
                followed = [_followed(record.details, how) for record in records]
                if all(entry is None for entry in followed):
                    raise InvalidRequest(
                        t("instruction_following needs the results of single instructions, and no sample has them"),
                        hint=t("Choose it for tasks of the kind instructions."),
                    )
                name = f"{level}_{how}"
                if level == "prompt":
                    scores[name] = mean([float(entry is not None and all(entry)) for entry in followed])
                    continue
                # Of a sample that failed, the number of instructions is not known: it is left out here.
                sums = np.asarray([(sum(entry), len(entry)) if entry else (0, 0) for entry in followed], dtype=float)
                share = np.asarray([np.mean(entry) if entry else np.nan for entry in followed])
                scores[name] = aggregated(
                    sums, RATIO, per_sample=share, samples=sum(entry is not None for entry in followed)
                )
        return scores


def _followed(details: Any, how: str) -> list[bool] | None:
    given = details.get(how)
    return None if given is None else [bool(entry) for entry in given]
