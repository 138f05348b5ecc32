"""Metrics by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import ValidationError

from llmasos.errors import InvalidRecipe, did_you_mean
from llmasos.evaluation.metrics.answers import ExactMatch, TokenF1
from llmasos.evaluation.metrics.base import Context, Metric
from llmasos.evaluation.metrics.calibration import Calibration
from llmasos.evaluation.metrics.classes import F1, Accuracy, AccuracyNormalized, Matthews, Precision, Recall
from llmasos.evaluation.metrics.code import PassAtK
from llmasos.evaluation.metrics.diversity import Distinct, SelfBleu
from llmasos.evaluation.metrics.instructions import InstructionFollowing
from llmasos.evaluation.metrics.judged import EmbeddingSimilarity, JudgePreference, JudgeScore
from llmasos.evaluation.metrics.meteor import Meteor
from llmasos.evaluation.metrics.perplexity import Perplexity
from llmasos.evaluation.metrics.rouge import Rouge
from llmasos.evaluation.metrics.score import Score
from llmasos.evaluation.metrics.translation import Bleu, ChrF, Ter
from llmasos.evaluation.records import Record
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.evaluation.task import BaseTask, MetricUse

METRICS: dict[str, type[Metric]] = {
    metric.name: metric
    for metric in (
        Accuracy, AccuracyNormalized, Precision, Recall, F1, Matthews, Calibration, ExactMatch, TokenF1, Bleu, ChrF,
        Ter, Rouge, Meteor, Perplexity, PassAtK, InstructionFollowing, Distinct, SelfBleu, EmbeddingSimilarity,
        JudgeScore, JudgePreference,
    )
}  # fmt: skip


def metric_of(use: MetricUse) -> Metric:
    """The metric that a task asks for.

    Raises:
        InvalidRecipe: there is none of this name, or its options are wrong.
    """
    kind = METRICS.get(use.name)
    if kind is None:
        raise InvalidRecipe(
            t("there is no metric {name}", name=repr(use.name)),
            hint=did_you_mean(use.name, METRICS) or t("There are {names}.", names=", ".join(METRICS)),
        )
    try:
        return kind.model_validate(use.options)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        fields = ", ".join(kind.model_fields) or t("none")
        raise InvalidRecipe(
            t("metric {name}: {key} = {value}: {problem}", name=use.name, key=key, value=repr(first["input"])[:80],
              problem=first["msg"]),
            hint=did_you_mean(key, kind.model_fields) or t("Its options are: {names}.", names=fields),
        ) from error  # fmt: skip


def context_of(task: BaseTask) -> Context:
    """What metrics need to know of a task."""
    language = getattr(task, "target_language", None) or task.language
    return Context(language=language, labels=tuple(getattr(task, "labels", None) or ()) if _has_classes(task) else ())


def _has_classes(task: BaseTask) -> bool:
    # The labels of a choice task name the choices of one question, which are no classes, and may be a template.
    return getattr(task, "kind", None) == "classification"


def compute(metrics: Sequence[Metric], records: Sequence[Record], context: Context) -> dict[str, Score]:
    """The scores of all metrics, in their order.

    Raises:
        InvalidRequest, MissingDependency: see the metrics.
    """
    scores: dict[str, Score] = {}
    for metric in metrics:
        for name, score in metric.compute(records, context).items():
            scores.setdefault(name, score)
    return scores
