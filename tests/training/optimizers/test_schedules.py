"""Schedules against their closed forms."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos.training.optimizers.schedules import factor, warmup_steps
from llmasos.training.recipe.optimizers import (
    Constant,
    Cosine,
    InverseSquareRoot,
    Linear,
    Schedule,
    Sgd,
    WarmupStableDecay,
)


def rates(schedule: Schedule, steps: int) -> list[float]:
    return [factor(schedule, step, steps) for step in range(1, steps + 1)]


def test_warm_up_is_a_share_below_one_and_a_number_from_one() -> None:
    assert warmup_steps(Constant(warmup=0.03), 101) == 4
    assert warmup_steps(Constant(warmup=0), 100) == 0
    assert warmup_steps(Constant(warmup=1), 100) == 1
    assert warmup_steps(Constant(warmup=20), 100) == 20
    assert warmup_steps(Constant(warmup=200), 100) == 100


def test_constant_rises_and_stays() -> None:
    assert rates(Constant(warmup=4), 6) == [0.25, 0.5, 0.75, 1, 1, 1]
    assert rates(Constant(warmup=0), 3) == [1, 1, 1]


def test_linear_falls_in_a_straight_line() -> None:
    assert rates(Linear(warmup=2), 6) == pytest.approx([0.5, 1, 1, 0.75, 0.5, 0.25])
    assert rates(Linear(warmup=0, final=0.5), 4) == pytest.approx([1, 0.875, 0.75, 0.625])


def test_cosine_falls_as_half_a_cosine() -> None:
    expected = [1, *(0.1 + 0.9 * (1 + math.cos(math.pi * done / 4)) / 2 for done in range(4))]
    assert rates(Cosine(warmup=1, final=0.1), 5) == pytest.approx(expected)


def test_wsd_is_constant_and_then_falls() -> None:
    assert rates(WarmupStableDecay(warmup=1, decay=0.4), 10) == pytest.approx([1] * 7 + [0.75, 0.5, 0.25])


def test_wsd_that_decays_all_the_time_begins_after_warm_up() -> None:
    assert rates(WarmupStableDecay(warmup=2, decay=1), 6) == pytest.approx([0.5, 1, 1, 0.75, 0.5, 0.25])


def test_inverse_square_root() -> None:
    assert rates(InverseSquareRoot(warmup=4), 16) == pytest.approx(
        [0.25, 0.5, 0.75, 1, *(math.sqrt(4 / step) for step in range(5, 17))]
    )
    assert rates(InverseSquareRoot(warmup=0), 4) == pytest.approx([1, math.sqrt(1 / 2), math.sqrt(1 / 3), 0.5])


schedules = st.one_of(
    st.builds(Constant, warmup=st.floats(0, 0.99)),
    st.builds(Linear, warmup=st.floats(0, 0.99), final=st.floats(0, 1)),
    st.builds(Cosine, warmup=st.integers(1, 60).map(float), final=st.floats(0, 1)),
    st.builds(WarmupStableDecay, warmup=st.floats(0, 0.99), decay=st.floats(0.01, 1), final=st.floats(0, 1)),
    st.builds(InverseSquareRoot, warmup=st.floats(0, 0.99)),
)


@given(schedules, st.integers(1, 60))
def test_rates_rise_to_the_highest_then_never_rise_again(schedule: Schedule, steps: int) -> None:
    found = rates(schedule, steps)
    assert all(0 < rate <= 1 for rate in found[:-1])
    assert 0 <= found[-1] <= 1
    top = warmup_steps(schedule, steps)
    assert found[:top] == sorted(found[:top])
    falling = found[max(top - 1, 0) :]
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(falling))


def test_half_a_step_of_warm_up_is_refused() -> None:
    assert Constant(warmup=1).warmup == 1
    with pytest.raises(ValueError, match="neither a share below 1 nor a whole number"):
        Constant(warmup=2.5)


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(ValueError, match="nesterov needs a momentum"):
        Sgd(nesterov=True, momentum=0)
