from __future__ import annotations

import random

import numpy as np
import pytest
from sklearn import metrics as reference

from llmasos.errors import InvalidRequest
from llmasos.evaluation.metrics.base import Context
from llmasos.evaluation.metrics.classes import predictions
from llmasos.evaluation.records import Status
from score_records import classified, record, scores

NAMES = ("sports", "politics", "science", "culture")
CONTEXT = Context(labels=NAMES)


def _draw(seed: int, classes: int = 4, samples: int = 120) -> tuple[list[int], list[int]]:
    draw = random.Random(seed)
    targets = [draw.randrange(classes) for _ in range(samples)]
    return targets, [target if draw.random() < 0.6 else draw.randrange(classes) for target in targets]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_averages_and_classes_equal_scikit_learn(name: str, seed: int) -> None:
    targets, chosen = _draw(seed)
    found = scores(classified(targets, chosen, NAMES), name, CONTEXT, per_class=True)
    compute = getattr(reference, f"{name}_score")
    for average in ("macro", "micro", "weighted"):
        expected = compute(targets, chosen, average=average, zero_division=0)
        assert found[f"{name}_{average}"].value == pytest.approx(expected, abs=1e-9)
    each = compute(targets, chosen, average=None, labels=range(4), zero_division=0)
    assert [found[f"{name}[{label}]"].value for label in NAMES] == pytest.approx(list(each), abs=1e-9)


def test_classes_that_do_not_occur_do_not_pull_averages_down() -> None:
    targets, chosen = [0, 1, 0, 1, 1], [0, 1, 1, 1, 0]
    found = scores(classified(targets, chosen, NAMES), "f1", CONTEXT)
    assert found["f1_macro"].value == pytest.approx(reference.f1_score(targets, chosen, average="macro"), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_the_correlation_equals_scikit_learn(seed: int) -> None:
    targets, chosen = _draw(seed)
    found = scores(classified(targets, chosen, NAMES), "mcc", CONTEXT)["mcc"]
    assert found.value == pytest.approx(reference.matthews_corrcoef(targets, chosen), abs=1e-9)


def test_samples_without_a_prediction_count_as_a_class_of_their_own_in_the_correlation() -> None:
    targets, chosen = [0, 1, 2, 0, 1, 2, 0, 1], [0, 1, None, 0, 2, 2, None, 1]
    found = scores(classified(targets, chosen, NAMES), "mcc", CONTEXT)["mcc"]
    with_class = [9 if place is None else place for place in chosen]
    assert found.value == pytest.approx(reference.matthews_corrcoef(targets, with_class), abs=1e-9)


def test_one_class_for_everything_has_no_correlation() -> None:
    assert scores(classified([0, 1, 2], [1, 1, 1], NAMES), "mcc", CONTEXT)["mcc"].value == 0


def test_the_confusion_matrix_equals_scikit_learn_and_counts_missing_predictions() -> None:
    targets, chosen = _draw(7)
    matrix = predictions(classified(targets, chosen, NAMES), CONTEXT).confusion()
    assert np.array_equal(matrix[:, :4], reference.confusion_matrix(targets, chosen, labels=range(4)))
    assert matrix[:, 4].sum() == 0
    matrix = predictions(classified([0, 0, 3], [None, 0, 2], NAMES), CONTEXT).confusion()
    assert matrix.tolist()[0] == [1, 0, 0, 0, 1]
    assert matrix.tolist()[3] == [0, 0, 1, 0, 0]


def test_a_failed_sample_still_belongs_to_its_class() -> None:
    records = [*classified([1, 1], [1, 1], NAMES), record(2, references=("politics",), status=Status.ERROR, error="x")]
    found = scores(records, "recall", CONTEXT, per_class=True)
    assert found["recall[politics]"].value == pytest.approx(2 / 3)


def test_classes_may_be_texts() -> None:
    known = [("yes", "yes"), ("no", "yes"), ("no", "no"), ("maybe", "no")]
    records = [record(index, parsed=parsed, references=(right,)) for index, (parsed, right) in enumerate(known)]
    found = scores(records, "precision", per_class=True)
    assert found["precision[yes]"].value == 1
    assert found["precision[no]"].value == 0.5
    assert scores(records, "recall", per_class=True)["recall[no]"].value == 0.5


def test_without_classes_there_is_nothing_to_count() -> None:
    with pytest.raises(InvalidRequest, match="no sample has a class"):
        scores([record(0, output="x")], "f1")


def test_accuracy_counts_all_samples_and_says_what_the_answered_ones_are() -> None:
    kinds = [Status.CORRECT, Status.CORRECT, Status.WRONG, Status.UNPARSED, Status.TRUNCATED, Status.ERROR]
    found = scores([record(index, status=status) for index, status in enumerate(kinds)], "accuracy")
    assert found["accuracy"].value == pytest.approx(2 / 6)
    assert found["accuracy_answered"].value == pytest.approx(2 / 3)
    assert found["accuracy_answered"].samples == 3


def test_accuracy_needs_a_verdict() -> None:
    with pytest.raises(InvalidRequest, match="nothing right or wrong"):
        scores([record(0), record(1)], "accuracy")
    garbage = scores([record(0, status=Status.UNPARSED)], "accuracy")
    assert {name: score.value for name, score in garbage.items()} == {"accuracy": 0}


def test_accuracy_by_length_divides_log_probabilities() -> None:
    # Long and short choices in tokens, characters, bytes: each unit prefers another one.
    one = record(
        0, target=0, status=Status.WRONG, choice_logprobs=(-6.0, -4.0, -5.0),
        choice_lengths=((1, 12, 12), (2, 4, 4), (2, 6, 18)),
    )  # fmt: skip
    other = record(
        1, target=1, details={"targets": [1, 2]}, status=Status.CORRECT, choice_logprobs=(-6.0, -4.0, -5.0),
        choice_lengths=((1, 12, 12), (2, 4, 4), (2, 6, 18)),
    )  # fmt: skip
    found = scores([one, other], "accuracy_normalized", by=("none", "tokens", "characters", "bytes"))
    assert {name: score.value for name, score in found.items()} == {
        "accuracy_raw": 0.5,  # the second is likeliest: wrong for one, right for the other
        "accuracy_normalized_tokens": 0.5,  # -6, -2, -2.5
        "accuracy_normalized": 0.5,  # -0.5, -1, -0.83
        "accuracy_normalized_bytes": 0.5,  # -0.5, -1, -0.28: the third is right for the other alone
    }
    assert found["accuracy_normalized"].per_sample.tolist() == [1, 0]  # type: ignore[union-attr]
    assert found["accuracy_normalized_bytes"].per_sample.tolist() == [0, 1]  # type: ignore[union-attr]
