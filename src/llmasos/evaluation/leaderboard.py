"""Models by their scores: what may stand in one column, and in which order."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from llmasos.errors import NotFound, did_you_mean
from llmasos.evaluation.comparison.pairing import likeness
from llmasos.evaluation.result import Evaluation, ScoreEntry
from llmasos.i18n import t

_FACT = "model."
"""What names of settings that say how a model was run begin with."""


@dataclass(frozen=True)
class Place:
    """One model in one table."""

    rank: int
    """From 1; models whose score is equal share it."""
    model: str
    variant: str
    """How the model was run, where it is in the table in several ways: ``dtype int8``; else empty."""
    model_digest: str | None
    metric: str
    entry: ScoreEntry
    tied: bool
    """Whether the interval overlaps that of the first. It is a hint only: `llmasos compare` tests it on the samples."""
    evaluation: Evaluation


@dataclass(frozen=True)
class Table:
    """One task, made in one way. Runs with other settings or samples are in a table of their own."""

    task: str
    metric: str
    settings: str
    """What distinguishes it from other tables of the task."""
    samples: int
    places: tuple[Place, ...]


def leaderboard(
    evaluations: Iterable[Evaluation], *, tasks: Sequence[str] = (), metric: str | None = None
) -> list[Table]:
    """Tables by task, the one with most models first.

    Of several runs of a model that were made alike, the newest counts. A model in two number formats or on two devices
    is two contestants.

    Args:
        evaluations: the newest first.
        tasks: those alone.
        metric: the score to order by; default: the first of each task.

    Raises:
        NotFound: there is no evaluation of a task, or none has the score.
    """
    known = list(evaluations)
    names = sorted({evaluation.task for evaluation in known})
    for task in tasks:
        if task not in names:
            raise NotFound(
                t("there is no evaluation of the task {name}", name=repr(task)),
                hint=did_you_mean(task, names) or t("`llmasos eval MODEL --task {task}` makes one.", task=task),
            )
    groups: dict[object, list[Evaluation]] = {}
    for evaluation in known:
        if tasks and evaluation.task not in tasks:
            continue
        group = groups.setdefault((evaluation.task, likeness(evaluation)), [])
        if all(_model(other) != _model(evaluation) for other in group):
            group.append(evaluation)
    tables = [table for group in groups.values() if (table := _table(group, metric)) is not None]
    if metric is not None and known and not tables:
        scores = sorted({name for evaluation in known for name in evaluation.scores})
        raise NotFound(
            t("no evaluation has the score {name}", name=repr(metric)),
            hint=did_you_mean(metric, scores) or t("There are {names}.", names=", ".join(scores)),
        )
    return sorted(tables, key=lambda table: (table.task, -len(table.places), -table.samples))


def _model(evaluation: Evaluation) -> Hashable:
    return evaluation.model_digest or evaluation.model, tuple(sorted(map(repr, _facts(evaluation).items())))


def _facts(evaluation: Evaluation) -> dict[str, Any]:
    """How the model was run."""
    return {name.removeprefix(_FACT): value for name, value in evaluation.settings.items() if name.startswith(_FACT)}


def _variant(evaluation: Evaluation, group: Iterable[Evaluation]) -> str:
    """The facts by which a run differs from the others of the same model."""
    others = [_facts(other) for other in group if other.model == evaluation.model]
    own = _facts(evaluation)
    return ", ".join(
        f"{name} {value}" for name, value in own.items() if any(other.get(name) != value for other in others)
    )


def _table(group: Sequence[Evaluation], metric: str | None) -> Table | None:
    name = metric if metric is not None else next((first for item in group for first in item.scores), None)
    if name is None:
        return None
    scored = [(evaluation, evaluation.scores[name]) for evaluation in group if name in evaluation.scores]
    if not scored:
        return None
    higher = scored[0][1].higher_is_better
    # Scores that are not defined come last.
    scored.sort(key=lambda pair: (pair[1].value != pair[1].value, -pair[1].value if higher else pair[1].value))
    best = scored[0][1]
    places: list[Place] = []
    for number, (evaluation, entry) in enumerate(scored, start=1):
        rank = places[-1].rank if places and places[-1].entry.value == entry.value else number
        places.append(
            Place(
                rank,
                evaluation.model,
                _variant(evaluation, group),
                evaluation.model_digest,
                name,
                entry,
                _overlap(entry, best),
                evaluation,
            )
        )
    first = scored[0][0]
    shown = {key: value for key, value in first.settings.items() if not key.startswith("model.") and key != "chat"}
    settings = ", ".join(f"{key} {value}" for key, value in shown.items())
    return Table(first.task, name, settings, first.samples, tuple(places))


def _overlap(entry: ScoreEntry, best: ScoreEntry) -> bool:
    if entry.low is None or entry.high is None or best.low is None or best.high is None:
        return entry.value == best.value
    return entry.low <= best.high and best.low <= entry.high
