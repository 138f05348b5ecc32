from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from llmasos.errors import InvalidRequest
from llmasos.evaluation.records import Status
from score_records import record, scores


def _records(probabilities: np.ndarray, targets: list[int]) -> list:  # type: ignore[type-arg]
    return [
        # Log-probabilities need not be normalised: any constant falls away.
        record(index, target=target, choice_logprobs=tuple(np.log(row) - 3.0), status=Status.CORRECT)
        for index, (row, target) in enumerate(zip(probabilities, targets, strict=True))
    ]


def _drawn(seed: int, classes: int) -> tuple[np.ndarray, list[int]]:  # type: ignore[type-arg]
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.ones(classes), size=80)
    return probabilities, [int(generator.choice(classes, p=row)) for row in probabilities]


@pytest.mark.parametrize("classes", [2, 4])
def test_brier_and_likelihood_equal_scikit_learn(classes: int) -> None:
    probabilities, targets = _drawn(classes, classes)
    found = scores(_records(probabilities, targets), "calibration")
    labels = list(range(classes))
    brier = brier_score_loss(targets, probabilities, labels=labels, scale_by_half=False)
    assert found["brier"].value == pytest.approx(brier, abs=1e-9)
    assert found["nll"].value == pytest.approx(log_loss(targets, probabilities, labels=labels), abs=1e-9)


def test_the_error_is_that_of_its_definition() -> None:
    probabilities, targets = _drawn(3, 3)
    found = scores(_records(probabilities, targets), "calibration", bins=10)["ece"]
    confidence, hit = probabilities.max(axis=1), probabilities.argmax(axis=1) == np.asarray(targets)
    expected = 0.0
    for low in np.linspace(0, 0.9, 10):
        inside = (confidence > low) & (confidence <= low + 0.1 + 1e-12)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - hit[inside].mean())
    assert found.value == pytest.approx(expected, abs=1e-9)
    assert not found.higher_is_better


def test_bins_of_equal_mass() -> None:
    rows = np.asarray([[0.6, 0.4], [0.7, 0.3], [0.8, 0.2], [0.9, 0.1]])
    found = scores(_records(rows, [0, 1, 0, 0]), "calibration", bins=2, binning="mass")["ece"]
    # (0.6, 0.7) with one hit of two; (0.8, 0.9) with two of two.
    assert found.value == pytest.approx((abs(1.3 - 1) + abs(1.7 - 2)) / 4)


def test_a_model_that_is_surely_right_is_calibrated() -> None:
    found = scores([record(0, target=1, choice_logprobs=(-math.inf, 0.0))], "calibration")
    assert {name: score.value for name, score in found.items()} == {"ece": 0, "brier": 0, "nll": 0}


def test_samples_without_one_right_choice_are_left_out() -> None:
    records = [
        record(0, target=0, choice_logprobs=(math.log(0.8), math.log(0.2))),
        record(1, target=0, choice_logprobs=(math.log(0.8), math.log(0.2)), details={"targets": [0, 1]}),
        record(2, target=None, status=Status.ERROR, error="x"),
    ]
    found = scores(records, "calibration")
    assert found["brier"].value == pytest.approx(2 * 0.2**2)
    assert {score.samples for score in found.values()} == {1}


def test_it_needs_log_probabilities() -> None:
    with pytest.raises(InvalidRequest, match="log-probabilities"):
        scores([record(0, output="x")], "calibration")
