"""Models compared on the same samples: differences, how sure they are, and where they come from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from llmasos.errors import InvalidRequest, NotFound, did_you_mean
from llmasos.evaluation.comparison.pairing import (
    common_samples,
    differences,
    matching,
    on_samples,
    remarks,
    sample_keys,
)
from llmasos.evaluation.comparison.result import Change, CompareOptions, Comparison, PairTest, TaskComparison
from llmasos.evaluation.metrics.score import Score
from llmasos.evaluation.runs import Run
from llmasos.evaluation.scoring import entries
from llmasos.evaluation.statistics.paired import (
    fewest_one_sided,
    holm,
    mcnemar,
    minimum_detectable,
    paired_bootstrap,
)
from llmasos.i18n import t


def compare(models: Mapping[str, Sequence[Run]], options: CompareOptions, tasks: Sequence[str] = ()) -> Comparison:
    """Compare models on the tasks that all of them were evaluated on.

    Args:
        models: the evaluations of each model by its name, the newest first.
        tasks: those alone.

    Raises:
        NotFound: the models share no task, or not the one asked for; or no such score.
        InvalidRequest: there are fewer than two models, or their runs cannot be compared.
    """
    if len(models) < 2:
        raise InvalidRequest(
            t("a comparison needs two models at least"), hint=t("For example: llmasos compare MODEL_A MODEL_B")
        )
    shared = set.intersection(*({run.evaluation.task for run in runs} for runs in models.values()))
    for task in tasks:
        if task not in shared:
            lacking = [name for name, runs in models.items() if all(run.evaluation.task != task for run in runs)]
            raise NotFound(
                t("{model} was not evaluated on {task}", model=lacking[0], task=task),
                hint=did_you_mean(task, shared)
                or t("`llmasos eval {name} --task {task}` does that.", name=lacking[0], task=task),
            )
    wanted = list(tasks) or sorted(shared)
    if not wanted:
        raise NotFound(
            t("the models were evaluated on no task in common"),
            hint="; ".join(
                f"{name}: {', '.join(sorted({run.evaluation.task for run in runs}))}" for name, runs in models.items()
            ),
        )
    compared = [_task(task, models, options) for task in wanted]
    tests = [test for item in compared for test in item.tests]
    testable = [test for test in tests if test.p_value is not None]
    adjusted = dict(
        zip(map(id, testable), holm([test.p_value for test in testable if test.p_value is not None]), strict=True)
    )
    return Comparison(
        tuple(
            replace(item, tests=tuple(replace(test, adjusted=adjusted.get(id(test))) for test in item.tests))
            for item in compared
        ),
        options,
    )


def _task(task: str, models: Mapping[str, Sequence[Run]], options: CompareOptions) -> TaskComparison:
    candidates = {name: [run for run in runs if run.evaluation.task == task] for name, runs in models.items()}
    runs = matching(candidates)
    apart = differences(runs)
    if apart and not options.allow_different:
        raise InvalidRequest(
            t("the runs of {task} cannot be compared: {differences}", task=task, differences="; ".join(apart)),
            hint=t("Evaluate all models with the same settings, or pass --allow-different."),
        )
    names = tuple(runs)
    common = common_samples(runs)
    if not len(next(iter(common.values()))):
        raise InvalidRequest(
            t("the runs of {task} have no sample in common", task=task),
            hint=t("Evaluate all models with the same data and --limit."),
        )
    first = next(iter(runs.values())).contributions.scores
    shared = [name for name in first if all(name in run.contributions.scores for run in runs.values())]
    selected = _selected(task, shared, options)
    paired = {
        name: {metric: on_samples(run.contributions.scores[metric], common[name]) for metric in selected}
        for name, run in runs.items()
    }
    with_intervals = {
        name: entries(scores, resamples=min(options.resamples, 2000), seed=options.seed)
        for name, scores in paired.items()
    }
    pairs = list(combinations(names, 2)) if options.all_pairs else [(names[0], other) for other in names[1:]]
    ids = sample_keys(next(iter(runs.values())), common[names[0]])
    tests = [
        _test(task, metric, one, two, paired[one][metric], paired[two][metric], ids, options)
        for metric in selected
        for one, two in pairs
    ]
    left_out = {
        name: len(run.contributions.sample_ids) - len(common[name])
        for name, run in runs.items()
        if len(run.contributions.sample_ids) > len(common[name])
    }
    return TaskComparison(
        task=task, models=names, samples=len(ids), left_out=left_out,
        scores={metric: tuple(with_intervals[name][metric] for name in names) for metric in selected},
        tests=tuple(tests),
        hardest=_hardest([paired[name][selected[0]] for name in names], ids, options.samples),
        notes=(*apart, *remarks(runs)), runs=tuple(runs.values()),
    )  # fmt: skip


def _selected(task: str, shared: Sequence[str], options: CompareOptions) -> list[str]:
    for name in options.metrics:
        if name not in shared:
            raise NotFound(
                t("{task} has no score {name} that all models share", task=task, name=repr(name)),
                hint=did_you_mean(name, shared) or t("There are {names}.", names=", ".join(shared)),
            )
    if not shared:
        raise NotFound(
            t("the runs of {task} share no score", task=task),
            hint=t("Evaluate all models with the same version of the task."),
        )
    if options.metrics:
        return list(options.metrics)
    return list(shared) if options.all_metrics else [shared[0]]


def _test(
    task: str,
    metric: str,
    one: str,
    two: str,
    first: Score,
    second: Score,
    ids: Sequence[tuple[str, int]],
    options: CompareOptions,
) -> PairTest:
    changes = _changes(first, second, ids)
    sign = 1 if first.higher_is_better else -1
    gains = [sign * (change.second - change.first) for change in changes]
    ordered = sorted(range(len(changes)), key=lambda place: gains[place])
    result: dict[str, Any] = dict.fromkeys(
        ("interval", "p_value", "adjusted", "test", "minimum_detectable", "only_first", "only_second")
    )
    if (
        first.sums is not None
        and second.sums is not None
        and first.aggregation is not None
        and first.aggregation == second.aggregation
        and first.sums.shape == second.sums.shape
    ):
        found = paired_bootstrap(
            first.sums, second.sums, first.aggregation, resamples=options.resamples, seed=options.seed,
            level=1 - options.alpha,
        )  # fmt: skip
        smallest = minimum_detectable(found.standard_error, alpha=options.alpha)
        result |= {"interval": found.interval, "p_value": found.p_value, "test": found.test}
        if first.is_proportion and second.is_proportion and (first.sums[:, 1] * second.sums[:, 1]).all():
            pairs = mcnemar(first.sums[:, 0], second.sums[:, 0])
            smallest = max(smallest, fewest_one_sided(options.alpha) / len(first.sums))
            result |= {
                "p_value": pairs.mid_p, "test": "mcnemar-mid-p", "only_first": pairs.only_first,
                "only_second": pairs.only_second,
            }  # fmt: skip
        result["minimum_detectable"] = smallest if math.isfinite(smallest) and smallest > 0 else None
    return PairTest(
        task=task, metric=metric, first=one, second=two, difference=second.value - first.value,
        higher_is_better=first.higher_is_better, better=sum(gain > 0 for gain in gains),
        worse=sum(gain < 0 for gain in gains), same=sum(gain == 0 for gain in gains),
        regressions=tuple(changes[place] for place in ordered[: options.samples] if gains[place] < 0),
        improvements=tuple(changes[place] for place in ordered[::-1][: options.samples] if gains[place] > 0),
        **result,
    )  # fmt: skip


def _changes(first: Score, second: Score, ids: Sequence[tuple[str, int]]) -> list[Change]:
    """The samples that have a score of their own in both."""
    if first.per_sample is None or second.per_sample is None:
        return []
    return [
        Change(sample, index, float(one), float(two))
        for (sample, index), one, two in zip(ids, first.per_sample, second.per_sample, strict=True)
        if math.isfinite(one) and math.isfinite(two)
    ]


def _hardest(scores: Sequence[Score], ids: Sequence[tuple[str, int]], count: int) -> tuple[Change, ...]:
    each = [score.per_sample for score in scores if score.per_sample is not None]
    if len(each) < len(scores):
        return ()
    table = np.stack(each)
    known = np.flatnonzero(np.isfinite(table).all(axis=0))
    means = table[:, known].mean(axis=0) * (1 if scores[0].higher_is_better else -1)
    best = means.max() if len(means) else 0.0
    order = [known[place] for place in np.argsort(means, kind="stable")[:count] if means[place] < best]
    return tuple(
        Change(ids[place][0], ids[place][1], float(table[:, place].min()), float(table[:, place].max()))
        for place in order
    )
