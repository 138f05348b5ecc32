"""Which runs belong together, whether they may be compared, and which samples they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from llmasos.evaluation.metrics.score import Score, aggregated
from llmasos.evaluation.result import Evaluation
from llmasos.evaluation.runs import Run
from llmasos.i18n import t

_NOT_COMPARED = ("chat",)
"""Settings that may differ between models: whether there is a chat template depends on the model."""


def matching(candidates: Mapping[str, Sequence[Run]]) -> dict[str, Run]:
    """One run of each model: the newest that were made alike, else the newest."""
    for wanted in next(iter(candidates.values())):
        chosen = {
            name: next((run for run in runs if likeness(run.evaluation) == likeness(wanted.evaluation)), None)
            for name, runs in candidates.items()
        }
        if all(run is not None for run in chosen.values()):
            return {name: run for name, run in chosen.items() if run is not None}
    return {name: runs[0] for name, runs in candidates.items()}


def _settings(evaluation: Evaluation) -> dict[str, Any]:
    return {
        name: value
        for name, value in evaluation.settings.items()
        if not name.startswith("model.") and name not in _NOT_COMPARED
    }


def likeness(evaluation: Evaluation) -> Hashable:
    """What runs that may be compared have in common: task, samples and settings."""
    return evaluation.task_digest, evaluation.data_digest, repr(sorted(_settings(evaluation).items()))


def differences(runs: Mapping[str, Run]) -> list[str]:
    """What makes runs another experiment."""
    found = []
    evaluations = [run.evaluation for run in runs.values()]
    if len({evaluation.task_digest for evaluation in evaluations}) > 1:
        found.append(t("the definition of the task differs"))
    if len({evaluation.data_digest for evaluation in evaluations}) > 1:
        found.append(t("the samples differ"))
    settings = {name: _settings(run.evaluation) for name, run in runs.items()}
    for key in sorted({key for values in settings.values() for key in values}):
        values = {name: given.get(key) for name, given in settings.items()}
        if len({repr(value) for value in values.values()}) > 1:
            found.append(f"{key}: " + ", ".join(f"{name} {value}" for name, value in values.items()))
    return found


def remarks(runs: Mapping[str, Run]) -> list[str]:
    """What a reader must know although it does not forbid the comparison."""
    found = []
    chat = {name: run.evaluation.settings.get("chat") for name, run in runs.items()}
    if len(set(chat.values())) > 1:
        found.append(
            t("chat template: {values}", values=", ".join(
                f"{name} {t('yes') if used else t('no')}" for name, used in chat.items()))
        )  # fmt: skip
    for name, run in runs.items():
        lost = {
            status: count
            for status, count in run.evaluation.counts.items()
            if status in ("unparsed", "truncated", "error") and count
        }
        if lost:
            counts = ", ".join(f"{status} {count}" for status, count in lost.items())
            found.append(
                t("{name}: {counts} of {total} samples", name=name, counts=counts, total=run.evaluation.samples)
            )
    return found


def _numbered(sample_ids: Sequence[str]) -> list[tuple[str, int]]:
    """Ids made unique: equal rows are paired in their order."""
    seen: Counter[str] = Counter()
    keys = []
    for sample in sample_ids:
        keys.append((sample, seen[sample]))
        seen[sample] += 1
    return keys


def common_samples(runs: Mapping[str, Run]) -> dict[str, npt.NDArray[np.int64]]:
    """For each model the places of the samples that all have, in the order of the first model."""
    places = {
        name: {key: place for place, key in enumerate(_numbered(run.contributions.sample_ids))}
        for name, run in runs.items()
    }
    shared = [key for key in next(iter(places.values())) if all(key in found for found in places.values())]
    return {name: np.asarray([found[key] for key in shared], dtype=np.int64) for name, found in places.items()}


def sample_keys(run: Run, places: npt.NDArray[np.int64]) -> list[tuple[str, int]]:
    """Id and index of the samples."""
    records = run.records
    return [(records[place].sample_id, records[place].index) for place in places]


def on_samples(score: Score, places: npt.NDArray[np.int64]) -> Score:
    """The score on these samples alone."""
    if score.sums is None or score.aggregation is None:
        return score
    per_sample = None if score.per_sample is None else score.per_sample[places]
    return aggregated(
        score.sums[places], score.aggregation, per_sample=per_sample, signature=score.signature,
        higher_is_better=score.higher_is_better, samples=min(score.samples, len(places)),
    )  # fmt: skip
