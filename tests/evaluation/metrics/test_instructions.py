from __future__ import annotations

import pytest

from llmasos.errors import InvalidRequest
from llmasos.evaluation.records import Status
from score_records import record, scores


def test_prompts_and_instructions_strict_and_loose() -> None:
    records = [
        record(0, details={"strict": [True, True], "loose": [True, True]}),
        record(1, details={"strict": [True, False, False], "loose": [True, True, True]}),
        record(2, status=Status.ERROR, error="x"),
    ]
    found = scores(records, "instruction_following")
    assert {name: score.value for name, score in found.items()} == pytest.approx({
        "prompt_strict": 1 / 3, "prompt_loose": 2 / 3, "instruction_strict": 3 / 5, "instruction_loose": 5 / 5,
    })  # fmt: skip
    assert found["instruction_strict"].samples == 2


def test_it_needs_the_results() -> None:
    with pytest.raises(InvalidRequest, match="results of single instructions"):
        scores([record(0)], "instruction_following")
