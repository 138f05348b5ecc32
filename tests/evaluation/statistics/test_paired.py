from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from llmasos.evaluation.metrics.aggregation import RATIO, FloatArray
from llmasos.evaluation.metrics.score import mean
from llmasos.evaluation.statistics.paired import (
    fewest_one_sided,
    holm,
    mcnemar,
    minimum_detectable,
    paired_bootstrap,
)


def _sums(values: FloatArray) -> FloatArray:
    found = mean(values).sums
    assert found is not None
    return found


def _answers(both: int, only_first: int, only_second: int, neither: int) -> tuple[FloatArray, FloatArray]:
    first = [1.0] * both + [1.0] * only_first + [0.0] * only_second + [0.0] * neither
    second = [1.0] * both + [0.0] * only_first + [1.0] * only_second + [0.0] * neither
    return np.asarray(first), np.asarray(second)


@settings(max_examples=80)
@given(st.integers(0, 60), st.integers(0, 60))
def test_the_exact_test_is_the_binomial_one(only_first: int, only_second: int) -> None:
    found = mcnemar(*_answers(5, only_first, only_second, 7))
    assert (found.only_first, found.only_second) == (only_first, only_second)
    differing = only_first + only_second
    if differing == 0:
        assert (found.exact, found.mid_p) == (1, 1)
        return
    assert found.exact == pytest.approx(stats.binomtest(only_first, differing).pvalue, abs=1e-9)
    # Mid-p by its definition: the two-sided p-value less the probability of the outcome itself.
    outcome = stats.binom.pmf(min(only_first, only_second), differing, 0.5)
    expected = found.exact - outcome if only_first != only_second else 1 - outcome / 2
    assert found.mid_p == pytest.approx(expected, abs=1e-9)
    assert found.mid_p <= found.exact


def test_a_published_example() -> None:
    # The example of Fagerland, Lydersen and Laake 2013: 21 pairs, of which 1 and 7 differ; exact 0.0703, mid-p 0.0391.
    found = mcnemar(*_answers(1, 1, 7, 12))
    assert found.exact == pytest.approx(0.0703, abs=5e-5)
    assert found.mid_p == pytest.approx(0.0391, abs=5e-5)


def test_many_differing_samples_do_not_overflow() -> None:
    found = mcnemar(*_answers(0, 20_000, 20_400, 0))
    assert found.exact == pytest.approx(stats.binomtest(20_000, 40_400).pvalue, rel=1e-6)


def test_the_bootstrap_pairs_samples() -> None:
    generator = np.random.default_rng(3)
    hardness = generator.normal(scale=10, size=200)
    first, second = hardness, hardness + 0.3 + generator.normal(scale=0.5, size=200)
    found = paired_bootstrap(_sums(first), _sums(second), RATIO, resamples=4000, seed=1)
    assert found.value == pytest.approx((second - first).mean())
    assert found.standard_error == pytest.approx(stats.sem(second - first), rel=0.06)
    assert found.interval is not None
    low, high = stats.t.interval(0.95, 199, loc=found.value, scale=stats.sem(second - first))
    assert found.interval.low == pytest.approx(low, abs=0.01)
    assert found.interval.high == pytest.approx(high, abs=0.01)
    assert found.p_value < 0.001
    # Unpaired, hardness would hide it.
    assert stats.ttest_ind(first, second).pvalue > 0.5


def test_equal_models_are_not_different() -> None:
    values = _sums(np.random.default_rng(0).normal(size=50))
    found = paired_bootstrap(values, values, RATIO, resamples=200)
    assert (found.value, found.p_value, found.standard_error) == (0, 1, 0)


def test_where_there_is_no_difference_one_is_found_as_rarely_as_the_level_says() -> None:
    generator = np.random.default_rng(21)
    trials, found = 400, 0
    found_by_mcnemar = 0
    for seed in range(trials):
        hardness = generator.uniform(0.2, 0.8, size=120)
        first, second = (generator.uniform(size=120) < hardness).astype(float), (
            generator.uniform(size=120) < hardness).astype(float)  # fmt: skip
        found += paired_bootstrap(_sums(first), _sums(second), RATIO, resamples=300, seed=seed).p_value < 0.05
        found_by_mcnemar += mcnemar(first, second).mid_p < 0.05
    # 5 % of 400 with three standard errors.
    assert found / trials <= 0.085
    assert found_by_mcnemar / trials <= 0.085
    assert found_by_mcnemar / trials >= 0.015


def test_the_minimum_detectable_difference_is_found_four_times_in_five() -> None:
    generator = np.random.default_rng(2)
    size, spread = 150, 1.0
    smallest = minimum_detectable(spread / math.sqrt(size))
    hits = sum(stats.ttest_1samp(generator.normal(smallest, spread, size=size), 0).pvalue < 0.05 for _ in range(1000))
    assert hits / 1000 == pytest.approx(0.8, abs=0.04)
    assert minimum_detectable(1.0) == pytest.approx(2.8016, abs=1e-4)


def test_so_many_differing_samples_are_needed_at_least() -> None:
    fewest = fewest_one_sided(0.05)
    assert mcnemar(*_answers(0, 0, fewest, 9)).mid_p < 0.05
    assert mcnemar(*_answers(0, 0, fewest - 1, 9)).mid_p >= 0.05


def test_holm_by_hand() -> None:
    # 0.01 * 4; 0.02 * 3; 0.03 * 2 = 0.06, not below the one before; 0.5.
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1, 1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_only_raises(given_values: list[float]) -> None:
    adjusted = holm(given_values)
    assert all(given <= value <= 1 for given, value in zip(given_values, adjusted, strict=True))
    order = sorted(range(len(given_values)), key=lambda place: given_values[place])
    assert [adjusted[place] for place in order] == sorted(adjusted)
    # Rejecting by adjusted values is Holm's procedure step by step.
    remaining = len(order)
    rejected = []
    for place in order:
        if given_values[place] * remaining >= 0.05:
            break
        rejected.append(place)
        remaining -= 1
    assert sorted(rejected) == [place for place, value in enumerate(adjusted) if value < 0.05]
