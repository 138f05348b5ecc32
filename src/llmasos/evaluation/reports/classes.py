"""Classes of a classification as its records show them: scores of each, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmasos.evaluation.metrics.aggregation import Aggregation
from llmasos.evaluation.metrics.base import Context
from llmasos.evaluation.metrics.classes import predictions
from llmasos.evaluation.records import Record

_MOST = 100


@dataclass(frozen=True)
class ClassScores:
    """One class."""

    samples: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Classes:
    """All classes."""

    names: tuple[str, ...]
    scores: tuple[ClassScores, ...]
    matrix: npt.NDArray[np.int64]
    """(classes, classes + 1): samples by class and prediction; the last column has those without one."""


def classes_of(records: Sequence[Record]) -> Classes | None:
    """The classes, if the samples have such: if a number always stands for the same name. ``None``: they do not, or
    there are too many to show."""
    names: dict[int, str] = {}
    for record in records:
        known = [(record.target, record.references[0] if record.references else None)]
        known.append((record.details.get("chosen"), record.parsed))
        for place, name in known:
            if place is not None and name is not None and names.setdefault(place, name) != name:
                return None
    if not 2 <= len(names) <= _MOST or len(set(names.values())) < len(names):
        return None
    labels = tuple(names.get(place, str(place)) for place in range(max(names) + 1))
    found = predictions(records, Context(labels=labels))
    sums = found.sums().sum(axis=0)

    def measure(name: str, place: int) -> float:
        return float(Aggregation("class_scores", (name, place))(sums))

    matrix = found.confusion()
    scores = tuple(
        ClassScores(int(matrix[place].sum()), *(measure(name, place) for name in ("precision", "recall", "f1")))
        for place in range(len(found.names))
    )
    return Classes(found.names, scores, matrix)
