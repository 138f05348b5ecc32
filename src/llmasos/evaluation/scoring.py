"""From records to the scores of an evaluation, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos.evaluation.contributions import SCORES_FILE, write_contributions
from llmasos.evaluation.metrics.base import Context
from llmasos.evaluation.metrics.registry import compute, context_of, metric_of
from llmasos.evaluation.metrics.score import Score
from llmasos.evaluation.records import Record
from llmasos.evaluation.result import ScoreEntry
from llmasos.evaluation.statistics.bootstrap import Interval, interval_of, left_out, resampled_sums
from llmasos.evaluation.statistics.proportion import wilson_interval

if TYPE_CHECKING:
    from llmasos.evaluation.metrics.aggregation import FloatArray
    from llmasos.evaluation.task import BaseTask
    from llmasos.modeling.model import Model

LEVEL = 0.95


def compute_scores(
    task: BaseTask, records: Sequence[Record], *, open_model: Callable[[str], Model] | None = None
) -> dict[str, Score]:
    """The scores that a task asks for.

    Args:
        open_model: loads a model by its reference, for metrics that use one.

    Raises:
        InvalidRecipe: a metric does not exist, or its options are wrong.
        InvalidRequest, MissingDependency: the records or this machine lack what a metric needs.
    """
    metrics = [metric_of(use) for use in task.metric_uses]
    context: Context = replace(context_of(task), open_model=open_model)
    return compute(metrics, records, context)


def entries(scores: Mapping[str, Score], *, resamples: int, seed: int = 0) -> dict[str, ScoreEntry]:
    """The scores with their intervals, as an evaluation keeps them.

    Proportions have Wilson's interval; everything else that is made of sums has the bootstrap's, with bias and skewness
    corrected.

    Args:
        resamples: of the bootstrap; 0 makes no such intervals.
    """
    intervals = _intervals(scores, resamples, seed)
    return {name: _entry(score, intervals.get(name)) for name, score in scores.items()}


def scores_of(
    task: BaseTask,
    records: Sequence[Record],
    *,
    resamples: int,
    open_model: Callable[[str], Model] | None = None,
    folder: Path | None = None,
) -> Mapping[str, ScoreEntry]:
    """Both in one.

    Args:
        folder: of the run; what each sample contributes is written there, for comparisons.

    Raises:
        OutOfDisk: it does not fit there. For the others see :func:`compute_scores`.
    """
    scores = compute_scores(task, records, open_model=open_model)
    if folder is not None:
        write_contributions(folder / SCORES_FILE, [record.sample_id for record in records], scores)
    return entries(scores, resamples=resamples)


def _entry(score: Score, interval: Interval | None) -> ScoreEntry:
    return ScoreEntry(
        score.value,
        None if interval is None else interval.low,
        None if interval is None else interval.high,
        score.higher_is_better,
        score.signature,
        None if interval is None else str(interval),
        score.samples,
    )


def _intervals(scores: Mapping[str, Score], resamples: int, seed: int) -> dict[str, Interval]:
    found: dict[str, Interval] = {}
    drawn: dict[str, FloatArray] = {}
    for name, score in scores.items():
        if score.sums is None or score.aggregation is None or not math.isfinite(score.value):
            continue
        if score.is_proportion:
            successes, trials = (int(total) for total in score.sums.sum(axis=0))
            found[name] = wilson_interval(successes, trials, level=LEVEL)
        elif resamples > 0 and len(score.sums) > 1:
            drawn[name] = score.sums
    if not drawn:
        return found
    # Scores that share an array are drawn for once, and all with the same draws.
    arrays = {id(array): array for array in drawn.values()}
    resampled = dict(zip(arrays, resampled_sums(list(arrays.values()), resamples, seed), strict=True))
    for name, array in drawn.items():
        aggregation = scores[name].aggregation
        assert aggregation is not None
        interval = interval_of(
            aggregation(resampled[id(array)]), scores[name].value, aggregation(left_out(array)), level=LEVEL
        )
        if interval is not None:
            found[name] = interval
    return found
