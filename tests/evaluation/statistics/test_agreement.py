from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from llmasos.evaluation.statistics.agreement import cohen_kappa, consistency

answers = st.lists(st.tuples(st.sampled_from("abt"), st.sampled_from("abt")), min_size=1, max_size=40)


@given(answers)
def test_kappa_equals_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    first, second = [one for one, _ in pairs], [two for _, two in pairs]
    ours = cohen_kappa(first, second)
    if len({*first, *second}) == 1:
        assert math.isnan(ours)
        return
    assert ours == pytest.approx(cohen_kappa_score(first, second), abs=1e-9)


def test_consistency() -> None:
    assert consistency("aabb", "abbb") == 0.75
    assert math.isnan(consistency("", ""))
