"""What a judge says of the answers of two models to the same samples."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmasos.data.linguistics.languages import is_chinese
from llmasos.evaluation.backends.protocol import Backend
from llmasos.evaluation.comparison.result import TaskComparison
from llmasos.evaluation.judge.pairwise import Pair, judge_pairs
from llmasos.evaluation.judge.questions import Verdict
from llmasos.evaluation.metrics.score import mean
from llmasos.evaluation.records import Record
from llmasos.evaluation.runs import Run
from llmasos.evaluation.statistics.bootstrap import Interval, bootstrap_interval
from llmasos.evaluation.statistics.paired import mcnemar


@dataclass(frozen=True)
class JudgedPair:
    """Two models on one task, as a judge sees them."""

    task: str
    first: str
    second: str
    judge: str
    pairs: int
    """Samples shown to the judge, each in both orders."""
    of: int
    """Samples that there are."""
    first_wins: int
    second_wins: int
    ties: int
    """Pairs of equal answers, or on which the two orders contradict each other."""
    unparsed: int
    """Verdicts that could not be read; their pairs count nowhere else."""
    win_rate: float
    """Of the second; ties count half. NaN: no pair has a verdict."""
    interval: Interval | None
    p_value: float
    """Of the sign test on wins, mid-p."""
    consistency: float
    kappa: float
    favours_first_place: float


def judge_runs(
    task: TaskComparison,
    backend: Backend,
    *,
    criteria: str | None = None,
    most: int = 100,
    seed: int = 0,
    max_tokens: int = 512,
) -> list[JudgedPair]:
    """Let a judge compare the answers of all pairs of models that a comparison tests.

    Args:
        most: samples shown of each pair, drawn with the seed.
    """
    pairs = list(dict.fromkeys((test.first, test.second) for test in task.tests))
    found = []
    for one, two in pairs:
        first, second = (task.runs[task.models.index(name)] for name in (one, two))
        shared = _shared(first, second)
        taken = shared
        if len(shared) > most:
            drawn = random.Random(seed).sample(range(len(shared)), most)  # noqa: S311 - no secret
            taken = [shared[place] for place in sorted(drawn)]
        asked = [Pair(left.prompt, left.output, right.output) for left, right in taken]
        language = "zh" if is_chinese("".join(pair.task[-500:] for pair in asked[:20])) else "en"
        verdicts = judge_pairs(backend, asked, criteria=criteria, language=language, max_tokens=max_tokens)
        points = 1 - verdicts.points()
        score = mean(points)
        assert score.sums is not None
        assert score.aggregation is not None
        found.append(
            JudgedPair(
                task=task.task, first=one, second=two, judge=backend.reference, pairs=len(taken), of=len(shared),
                first_wins=verdicts.count(Verdict.FIRST), second_wins=verdicts.count(Verdict.SECOND),
                ties=verdicts.count(Verdict.TIE), unparsed=verdicts.unparsed, win_rate=score.value,
                interval=bootstrap_interval(score.sums, score.aggregation, seed=seed),
                p_value=mcnemar(np.equal(points, 0), np.equal(points, 1)).mid_p, consistency=verdicts.consistency,
                kappa=verdicts.kappa, favours_first_place=verdicts.favours_first_place,
            )
        )  # fmt: skip
    return found


def _shared(first: Run, second: Run) -> Sequence[tuple[Record, Record]]:
    """The records of samples that both models wrote something to. The prompt shown is that of the first."""
    other = {record.sample_id: record for record in second.records}
    return [
        (record, other[record.sample_id])
        for record in first.records
        if record.sample_id in other and record.output and other[record.sample_id].output
    ]
