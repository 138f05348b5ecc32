"""Several runs beside each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from llmasos.runs.comparison import differing_settings, label_of, measures_after, result_table
from llmasos.runs.run import Run
from llmasos.runs.series import Point
from llmasos.runs.states import State

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def run() -> Callable[..., Run]:
    """Makes a run that has ended."""

    def make(identifier: str, name: str | None = None, result: Mapping[str, Any] | None = None) -> Run:
        return Run(
            id=identifier, kind="sft", name=name, state=State.SUCCEEDED, resumable=True, background=True,
            accept_license=False, recipe_folder="", attempt=1, created=MOMENT, queued=MOMENT, spawned=None,
            started=MOMENT, finished=MOMENT, heartbeat=None, stop_requested=None, host="here", process=None,
            exit_code=0, failure=None, result=result or {},
        )  # fmt: skip

    return make


def test_names_are_used_where_they_tell_runs_apart(run: Callable[..., Run]) -> None:
    runs = [run("a", "one"), run("b", "two"), run("c", "two"), run("d")]
    assert [label_of(item, runs) for item in runs] == ["one", "b", "c", "d"]


def test_only_settings_that_differ_are_told() -> None:
    first = {
        "kind": "sft", "name": "a", "seed": 1, "model": {"start": "pretrained", "reference": "m"},
        "data": {"train": [{"path": "a.csv", "columns": ["x", "y"]}], "rendering": {"today": "2026-01-01"}},
        "method": {"kind": "lora", "rank": 8}, "output": {"name": "my/a", "merge": False},
    }  # fmt: skip
    second = {
        **first, "name": "b", "seed": 1.0, "method": {"kind": "full"}, "output": {"name": "my/b", "merge": True},
        "data": {"train": [{"path": "b.csv", "columns": ["x", "y"]}], "rendering": {"today": "2026-01-02"}},
    }  # fmt: skip
    assert differing_settings([first, second]) == [
        ("seed", ["1", "1.0"]),
        ("data.train.0.path", ["a.csv", "b.csv"]),
        ("method.kind", ["lora", "full"]),
        ("method.rank", ["8", ""]),
        ("output.merge", ["false", "true"]),
    ]
    assert differing_settings([first, first]) == []
    assert differing_settings([{}, {}]) == []


def test_results_stand_beside_each_other(run: Callable[..., Run]) -> None:
    runs = [run("a", result={"after": {"loss": 0.5, "accuracy": 0.9}}), run("b", result={"after": {"loss": 0.4}}),
            run("c")]  # fmt: skip
    assert measures_after(runs) == [("loss", [0.5, 0.4, None]), ("accuracy", [0.9, None, None])]
    curve = {"loss": [Point(1, 2.0), Point(2, float("nan")), Point(3, 1.5)]}
    heads, first, second, _ = result_table(runs, [("a", curve), ("b", {}), ("c", {})])
    assert len(heads) == len(first) == len(second)
    assert first[0] == "a" and first[3] == "3" and first[5] == "1.5000"
    assert second[3] == "0" and second[5] == "-"
