"""From sums over samples to a score.

Every score of a whole run is a function of sums over its samples: accuracy of (right, samples), BLEU of counts of
n-grams, F1 of counts of classes. A bootstrap resample is then a weighted sum, so all resamples of all scores are one
product of matrices and one vectorised call of these functions. They take ``(..., columns)`` and give ``(...)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Aggregation:
    """One of :data:`AGGREGATIONS` with its parameters; can be written down and read again."""

    name: str
    parameters: tuple[float | int | str, ...] = ()

    def __call__(self, sums: FloatArray) -> FloatArray:
        """The score of each row of sums: ``(..., columns)`` to ``(...)``; NaN where it is not defined."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return np.asarray(AGGREGATIONS[self.name](sums, *self.parameters), dtype=np.float64)

    def as_json(self) -> list[Any]:
        """The aggregation as JSON values."""
        return [self.name, *self.parameters]

    @classmethod
    def from_json(cls, value: list[Any]) -> Aggregation:
        """The aggregation that :meth:`as_json` wrote.

        Raises:
            KeyError: there is none of this name.
        """
        name, *parameters = value
        if name not in AGGREGATIONS:
            raise KeyError(name)
        return cls(name, tuple(parameters))


def ratio(sums: FloatArray, scale: float = 1.0) -> FloatArray:
    """Columns: numerator, denominator. A mean is a ratio of a sum and a count."""
    return scale * sums[..., 0] / sums[..., 1]


def exponential_loss(sums: FloatArray) -> FloatArray:
    """Perplexity. Columns: log-likelihood (natural), units."""
    return np.asarray(np.exp(-sums[..., 0] / sums[..., 1]))


def bleu(sums: FloatArray, order: int = 4) -> FloatArray:
    """BLEU (Papineni et al. 2002) with the exponential smoothing of mteval-v13a, as sacrebleu computes it; 0 to 100.

    Columns: length of the output, length of the reference, matching n-grams of orders 1 to ``order``, all n-grams.
    """
    length, reference = sums[..., 0], sums[..., 1]
    correct, total = sums[..., 2 : 2 + order], sums[..., 2 + order : 2 + 2 * order]
    log_precisions, _ = _smoothed(correct, total)
    score = 100 * _brevity(length, reference) * np.exp(log_precisions.sum(axis=-1) / order)
    return np.where(correct.sum(axis=-1) > 0, score, 0.0)


def sentence_bleu(sums: FloatArray, order: int = 4) -> FloatArray:
    """As :func:`bleu`, of a sentence: orders that it is too short for do not count (sacrebleu's effective order)."""
    length, reference = sums[..., 0], sums[..., 1]
    correct, total = sums[..., 2 : 2 + order], sums[..., 2 + order : 2 + 2 * order]
    log_precisions, defined = _smoothed(correct, total)
    used = np.maximum(defined.sum(axis=-1), 1)
    mean = np.where(defined, log_precisions, 0.0).sum(axis=-1) / used
    return np.where(correct.sum(axis=-1) > 0, 100 * _brevity(length, reference) * np.exp(mean), 0.0)


def _brevity(length: FloatArray, reference: FloatArray) -> FloatArray:
    short = np.where(length > 0, np.exp(np.minimum(1 - reference / np.maximum(length, 1e-300), 0.0)), 0.0)
    return np.where(length < reference, short, 1.0)


def _smoothed(correct: FloatArray, total: FloatArray) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Logarithms of the n-gram precisions, and which orders are defined: those before the first without n-grams."""
    defined = np.cumprod(total > 0, axis=-1).astype(bool)
    missed = (correct == 0) & defined
    halvings = np.exp2(np.cumsum(missed, axis=-1))
    precision = np.where(missed, 1 / halvings, correct) / np.maximum(total, 1)
    return np.where(defined, np.log(np.where(defined, precision, 1.0)), -np.inf), defined


def chrf(sums: FloatArray, orders: int, beta: float) -> FloatArray:
    """chrF (Popović 2015) as sacrebleu computes it, over orders that both texts have; 0 to 100.

    Columns: for each order the n-grams of the output, those of the reference, and the matches.
    """
    counts = sums.reshape(*sums.shape[:-1], orders, 3)
    output, reference, match = counts[..., 0], counts[..., 1], counts[..., 2]
    used = (output > 0) & (reference > 0)
    number = np.maximum(used.sum(axis=-1), 1)
    precision = np.where(used, match / np.maximum(output, 1), 0.0).sum(axis=-1) / number
    recall = np.where(used, match / np.maximum(reference, 1), 0.0).sum(axis=-1) / number
    weight = beta * beta
    below = weight * precision + recall
    return np.where(below > 0, 100 * (1 + weight) * precision * recall / np.where(below > 0, below, 1), 0.0)


def class_scores(sums: FloatArray, measure: str, average: str | int) -> FloatArray:
    """Precision, recall or F1 of classes; what has no cases is 0, as scikit-learn has it.

    Columns: for each class the right predictions, then for each the predictions, then for each the samples.

    Args:
        measure: ``precision``, ``recall`` or ``f1``.
        average: ``macro``, ``micro``, ``weighted`` (by samples), or the number of one class. Classes that neither
            occur nor are predicted do not count in an average.
    """
    right, predicted, actual = np.split(sums, 3, axis=-1)
    if average == "micro":
        right, predicted, actual = (part.sum(axis=-1, keepdims=True) for part in (right, predicted, actual))
        return np.asarray(_measure(measure, right, predicted, actual)[..., 0])
    each = _measure(measure, right, predicted, actual)
    if isinstance(average, int):
        return np.asarray(each[..., average])
    if average == "weighted":
        return np.asarray((each * actual).sum(axis=-1) / actual.sum(axis=-1))
    assert average == "macro", average
    present = (predicted + actual) > 0
    return np.asarray(np.where(present, each, 0.0).sum(axis=-1) / present.sum(axis=-1))


def _measure(measure: str, right: FloatArray, predicted: FloatArray, actual: FloatArray) -> FloatArray:
    below = {"precision": predicted, "recall": actual, "f1": (predicted + actual) / 2}[measure]
    return np.where(below > 0, right / np.where(below > 0, below, 1), 0.0)


def matthews(sums: FloatArray) -> FloatArray:
    """Matthews correlation coefficient of several classes (Gorodkin 2004); 0 where it is not defined.

    Columns as for :func:`class_scores`. Samples without a prediction count as predictions of a class of their own.
    """
    right, predicted, actual = np.split(sums, 3, axis=-1)
    samples = actual.sum(axis=-1)
    unanswered = samples - predicted.sum(axis=-1)
    covariance = right.sum(axis=-1) * samples - (predicted * actual).sum(axis=-1)
    of_predictions = samples**2 - (predicted**2).sum(axis=-1) - unanswered**2
    of_classes = samples**2 - (actual**2).sum(axis=-1)
    below = np.sqrt(np.maximum(of_predictions * of_classes, 0.0))
    return np.where(below > 0, covariance / np.where(below > 0, below, 1), 0.0)


def calibration_error(sums: FloatArray) -> FloatArray:
    """Expected calibration error. Columns: for each bin confidence minus hits; last, the samples."""
    return np.asarray(np.abs(sums[..., :-1]).sum(axis=-1) / sums[..., -1])


AGGREGATIONS: dict[str, Callable[..., FloatArray]] = {
    "ratio": ratio,
    "exponential_loss": exponential_loss,
    "bleu": bleu,
    "chrf": chrf,
    "class_scores": class_scores,
    "matthews": matthews,
    "calibration_error": calibration_error,
}
"""By the name under which they are written down."""

RATIO = Aggregation("ratio")
BITS = Aggregation("ratio", (-1 / math.log(2),))
