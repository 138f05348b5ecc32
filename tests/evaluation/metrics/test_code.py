from __future__ import annotations

import itertools
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos.errors import InvalidRequest
from llmasos.evaluation.metrics.code import pass_at_k
from score_records import record, scores


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_estimate_of_the_paper(case: tuple[int, int, int]) -> None:
    samples, passed, k = case
    assert pass_at_k(samples, passed, k) == pytest.approx(1 - comb(samples - passed, k) / comb(samples, k), abs=1e-12)


def test_pass_at_k_is_the_share_of_draws_with_a_pass() -> None:
    outcomes = [True, False, False, True, False, False]
    draws = list(itertools.combinations(outcomes, 3))
    assert pass_at_k(6, 2, 3) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_many_programs_do_not_overflow() -> None:
    assert pass_at_k(10_000, 1, 100) == pytest.approx(0.01)


def test_scores_take_the_k_for_which_there_are_programs() -> None:
    records = [record(0, passed=(True,) * 2 + (False,) * 8), record(1, passed=(False,) * 10), record(2, passed=None)]
    found = scores(records, "pass_at_k")
    assert {name: score.value for name, score in found.items()} == pytest.approx({"pass@1": 0.2 / 3, "pass@10": 1 / 3})
    assert list(scores(records, "pass_at_k", k=(5,))) == ["pass@5"]


def test_more_than_there_are_programs_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="k = 3, and there are 2 programs"):
        scores([record(0, passed=(True, False))], "pass_at_k", k=(1, 3))
