"""Metrics of choosing: accuracy, precision, recall, F1, correlation, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from llmasos.errors import InvalidRequest
from llmasos.evaluation.metrics.aggregation import Aggregation, FloatArray
from llmasos.evaluation.metrics.base import Context, Metric
from llmasos.evaluation.metrics.score import Score, aggregated, mean
from llmasos.evaluation.records import Record, Status
from llmasos.i18n import t

Average = Literal["macro", "micro", "weighted"]
Length = Literal["none", "tokens", "characters", "bytes"]


class Accuracy(Metric):
    """Share of samples that are right by the task's own verdict. Unparsed, truncated and failed ones are not right."""

    name: ClassVar[str] = "accuracy"

    def compute(self, records: Sequence[Record], context: Context) -> dict[str, Score]:
        if all(record.status is Status.SCORED for record in records):
            raise InvalidRequest(
                t("accuracy is not defined: the task calls nothing right or wrong"),
                hint=t("Let the task say what matches, or choose another metric."),
            )
        scores = {"accuracy": mean([float(record.status is Status.CORRECT) for record in records])}
        answered = [record.status in (Status.CORRECT, Status.WRONG) for record in records]
        if not all(answered) and any(answered):
            values = [
                float(record.status is Status.CORRECT) if known else np.nan
                for record, known in zip(records, answered, strict=True)
            ]
            scores["accuracy_answered"] = mean(values)
        return scores


class AccuracyNormalized(Metric):
    """Accuracy where the choice with the highest log-probability for its length counts as chosen, and beside it where
    the highest log-probability alone does, whatever the task's own verdict goes by."""

    name: ClassVar[str] = "accuracy_normalized"
    by: tuple[Length, ...] = Field(
        ("characters", "bytes", "tokens", "none"), min_length=1, description="What log-probabilities are divided by."
    )

    def compute(self, records: Sequence[Record], context: Context) -> dict[str, Score]:
        scores = {}
        for unit in self.by:
            name = {"characters": self.name, "none": "accuracy_raw"}.get(unit, f"{self.name}_{unit}")
            scores[name] = mean([float(is_right(record, unit)) for record in records])
        return scores


def is_right(record: Record, unit: Length) -> bool:
    """Whether the likeliest choice for its length is right; of a sample without log-probabilities it is not.

    Raises:
        InvalidRequest: a length is asked for, and choices have none.
    """
    logprobs, lengths = record.choice_logprobs, record.choice_lengths
    if record.status is Status.ERROR or logprobs is None:
        return False
    if unit != "none":
        if lengths is None:
            raise InvalidRequest(
                t("accuracy_normalized needs the lengths of choices, which a classifier does not have"),
                hint=t("Choose accuracy."),
            )
        place = ("tokens", "characters", "bytes").index(unit)
        logprobs = tuple(value / max(length[place], 1) for value, length in zip(logprobs, lengths, strict=True))
    chosen = max(range(len(logprobs)), key=lambda index: logprobs[index])
    return chosen in record.details.get("targets", [record.target])


@dataclass(frozen=True)
class Predictions:
    """Classes by number."""

    names: tuple[str, ...]
    targets: npt.NDArray[np.int64]
    """(samples,); -1: the sample has no class."""
    predicted: npt.NDArray[np.int64]
    """(samples,); -1: there is no prediction, or it is no class."""

    def sums(self) -> FloatArray:
        """(samples, 3 * classes): see :func:`~llmasos.evaluation.metrics.aggregation.class_scores`."""
        classes = np.arange(len(self.names))
        actual = self.targets[:, None] == classes
        predicted = (self.predicted[:, None] == classes) & (self.targets[:, None] >= 0)
        return np.concatenate([actual & predicted, predicted, actual], axis=1).astype(np.float64)

    def confusion(self) -> npt.NDArray[np.int64]:
        """(classes, classes + 1): samples by class and prediction; the last column has those without one."""
        size = len(self.names)
        matrix = np.zeros((size, size + 1), dtype=np.int64)
        known = self.targets >= 0
        column = np.where(self.predicted >= 0, self.predicted, size)
        np.add.at(matrix, (self.targets[known], column[known]), 1)
        return matrix


def predictions(records: Sequence[Record], context: Context) -> Predictions:
    """The classes of samples and what was predicted: by number where the records have such, else by text.

    Raises:
        InvalidRequest: there are no classes.
    """
    numbered = any(record.target is not None for record in records)
    if numbered:
        found = [(_numbered_target(record, context), record.details.get("chosen", -1)) for record in records]
        choices = max(len(record.choice_logprobs or ()) for record in records)
        count = max(choices, *(max(pair) + 1 for pair in found))
        names = context.labels if len(context.labels) >= count else tuple(str(number) for number in range(count))
    else:
        names = context.labels or tuple(sorted({record.references[0] for record in records if record.references}))
        places = {name: place for place, name in enumerate(names)}
        found = [
            (places.get(record.references[0], -1) if record.references else -1, places.get(record.parsed or "", -1))
            for record in records
        ]
    if not names or all(target < 0 for target, _ in found):
        raise InvalidRequest(
            t("no sample has a class"), hint=t("Choose metrics of classes for tasks that choose alone.")
        )
    pairs = np.asarray(found, dtype=np.int64).reshape(-1, 2)
    return Predictions(names, pairs[:, 0], pairs[:, 1])


def _numbered_target(record: Record, context: Context) -> int:
    """The class of a sample; of one that failed, by the name that its reference is."""
    if record.target is not None:
        return record.target
    name = record.references[0] if record.references else None
    return context.labels.index(name) if name in context.labels else -1


class _ClassMetric(Metric):
    averages: tuple[Average, ...] = Field(
        ("macro", "weighted", "micro"),
        min_length=1,
        description="macro: the mean over classes; weighted: by samples; micro: all cases together.",
    )
    per_class: bool = Field(False, description="Also a score for every class.")

    def compute(self, records: Sequence[Record], context: Context) -> dict[str, Score]:
        found = predictions(records, context)
        sums, known = found.sums(), found.targets >= 0
        right = np.where(known, (found.targets == found.predicted).astype(np.float64), np.nan)
        kinds: list[tuple[str, str | int]] = [(f"{self.name}_{average}", average) for average in self.averages]
        if self.per_class:
            kinds += [(f"{self.name}[{name}]", place) for place, name in enumerate(found.names)]
        return {
            name: aggregated(
                sums, Aggregation("class_scores", (self.name, kind)), per_sample=right, samples=int(known.sum())
            )
            for name, kind in kinds
        }


class Precision(_ClassMetric):
    """Of the samples that were given a class, the share that has it."""

    name: ClassVar[str] = "precision"


class Recall(_ClassMetric):
    """Of the samples that have a class, the share that was given it."""

    name: ClassVar[str] = "recall"


class F1(_ClassMetric):
    """The harmonic mean of precision and recall."""

    name: ClassVar[str] = "f1"


class Matthews(Metric):
    """Matthews correlation coefficient: 1 is perfect, 0 is chance, whatever the shares of the classes."""

    name: ClassVar[str] = "mcc"

    def compute(self, records: Sequence[Record], context: Context) -> dict[str, Score]:
        found = predictions(records, context)
        known = found.targets >= 0
        right = np.where(known, (found.targets == found.predicted).astype(np.float64), np.nan)
        return {
            self.name: aggregated(found.sums(), Aggregation("matthews"), per_sample=right, samples=int(known.sum()))
        }
