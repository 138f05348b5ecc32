from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from llmasos.evaluation.metrics.aggregation import RATIO, Aggregation, FloatArray
from llmasos.evaluation.metrics.score import mean
from llmasos.evaluation.statistics.bootstrap import bootstrap_interval, interval_of, left_out, resampled_sums
from llmasos.evaluation.statistics.proportion import wilson_interval


def _sums(values: FloatArray) -> FloatArray:
    found = mean(values).sums
    assert found is not None
    return found


def test_resamples_are_drawn_alike_for_all_arrays_and_sum_up() -> None:
    values = np.arange(30.0).reshape(10, 3)
    one, two = resampled_sums([values, values[:, :1]], 50, seed=4)
    assert one.shape == (50, 3)
    assert np.array_equal(one[:, :1], two)
    ones = resampled_sums([np.ones((10, 1))], 50, seed=4)[0]
    assert set(ones.ravel()) == {10.0}  # as many samples as there are
    assert len(set(one[:, 0])) > 10


def test_the_seed_decides() -> None:
    values = np.random.default_rng(0).normal(size=(20, 1))
    first, again, other = (resampled_sums([values], 30, seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("method", ["bca", "percentile"])
@pytest.mark.parametrize("skewed", [False, True])
def test_intervals_equal_those_of_scipy_up_to_the_draw(method: str, skewed: bool) -> None:
    generator = np.random.default_rng(5)
    values = generator.exponential(size=60) if skewed else generator.normal(size=60)
    ours = bootstrap_interval(_sums(values), RATIO, resamples=20_000, seed=1, method=method)  # type: ignore[arg-type]
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa" if method == "bca" else "percentile", rng=2
    ).confidence_interval
    assert ours is not None
    spread = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * spread)
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * spread)
    assert ours.method == f"bootstrap-{method}"


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(11)
    ratio = Aggregation("exponential_loss")  # perplexity: neither a mean nor symmetric
    hits, trials = 0, 300
    for seed in range(trials):
        units = generator.integers(5, 40, size=80).astype(float)
        likelihood = -2.0 * units + generator.normal(size=80) * np.sqrt(units)
        found = bootstrap_interval(np.stack([likelihood, units], axis=-1), ratio, resamples=400, seed=seed)
        assert found is not None
        hits += found.low <= np.exp(2.0) <= found.high
    # 95 % of 300 with three standard errors, and what the bootstrap is known to fall short of at 80 samples.
    assert 0.90 <= hits / trials <= 0.99


def test_samples_that_are_all_the_same_have_an_interval_without_width() -> None:
    found = bootstrap_interval(_sums(np.full(9, 0.25)), RATIO, resamples=50)
    assert found is not None
    assert (found.low, found.high, found.method) == (0.25, 0.25, "bootstrap-percentile")


def test_resamples_without_a_score_are_left_out() -> None:
    replicates = np.asarray([np.nan, 1.0, 2.0, np.inf, 3.0])
    found = interval_of(replicates, 2.0, np.asarray([1.0, 2.0, 3.0]), level=0.9)
    assert found is not None
    assert 1 <= found.low < found.high <= 3
    assert interval_of(np.full(3, np.nan), 2.0, np.asarray([1.0])) is None


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=12))
def test_the_jackknife_leaves_each_sample_out(values: list[float]) -> None:
    array = np.asarray(values)
    expected = [np.delete(array, place).mean() for place in range(len(array))]
    assert RATIO(left_out(_sums(array))).tolist() == pytest.approx(expected, abs=1e-9)


@settings(max_examples=50)
@given(st.integers(1, 300).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))))
def test_wilson_equals_scipy(case: tuple[int, int]) -> None:
    successes, trials = case
    ours = wilson_interval(successes, trials)
    theirs = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_all_right_is_not_certain() -> None:
    assert wilson_interval(20, 20).high == 1
    assert wilson_interval(20, 20).low == pytest.approx(0.8389, abs=1e-4)
    assert wilson_interval(0, 20).low == 0
    assert str(wilson_interval(0, 20)) == "wilson 95 %"
