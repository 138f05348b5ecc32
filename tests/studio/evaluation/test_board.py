"""Models by tasks: rows, columns, order."""

from __future__ import annotations

from typing import Any

import pytest

from llmasos.evaluation.leaderboard import leaderboard
from llmasos.evaluation.result import Evaluation, ScoreEntry
from llmasos.studio.evaluation.board import BY_MODEL, Board, board, ordered
from llmasos.studio.evaluation.sections import percent, settings_text, share_without_answer


def made(model: str, task: str, value: float, *, higher: bool = True, **values: Any) -> Evaluation:
    settings = {"few_shot": 0, "model.dtype": values.pop("dtype", "int8"), **values.pop("settings", {})}
    given = {
        "model_digest": None, "task_version": 1, "task_digest": f"sha256:{task}", "data_digest": "sha256:data",
        "settings": settings, "settings_digest": "sha256:s", "counts": {"correct": 3, "unparsed": 1}, "samples": 4,
        "scores": {"accuracy": ScoreEntry(value, value - 0.1, value + 0.1, higher_is_better=higher)}, **values,
    }  # fmt: skip
    return Evaluation(model=model, task=task, **given)


def names(found: Board, column: int, *, best_first: bool = True) -> list[str]:
    return [row.model for row in ordered(found, column, best_first=best_first)]


@pytest.fixture
def tables() -> Any:
    return leaderboard([
        made("a", "one", 0.5), made("b", "one", 0.9), made("c", "two", 0.1), made("a", "two", 0.4),
        made("b", "one", 0.2, settings={"sample": True}), made("d", "three", float("nan")),
    ])  # fmt: skip


def test_every_model_has_one_row(tables: Any) -> None:
    found = board(tables)
    assert sorted(row.model for row in found.rows) == ["a", "b", "c", "d"]
    assert [table.task for table in found.columns] == ["one", "one", "three", "two"]
    (row,) = [row for row in found.rows if row.model == "b"]
    assert [row.places[column].entry.value for column in sorted(row.places)] == [0.9, 0.2]


def test_the_order_of_a_column(tables: Any) -> None:
    found = board(tables)
    assert names(found, 0)[:2] == ["b", "a"] and names(found, 0, best_first=False)[:2] == ["a", "b"]
    assert names(found, BY_MODEL) == ["a", "b", "c", "d"]
    assert names(found, BY_MODEL, best_first=False) == ["d", "c", "b", "a"]
    assert set(names(found, 2)) == {"a", "b", "c", "d"}, "a score that is not defined takes nobody away"


def test_where_less_is_better_the_least_is_first() -> None:
    found = board(leaderboard([made("a", "one", 20.0, higher=False), made("b", "one", 10.0, higher=False)]))
    assert names(found, 0) == ["b", "a"]


def test_filters(tables: Any) -> None:
    assert [row.model for row in board(tables, text=" A ").rows] == ["a"]
    assert {row.model for row in board(tables, task="two").rows} == {"a", "c"}
    assert len(board(tables, made_up=False).columns) == 3


def test_a_model_in_two_number_formats_is_two_rows() -> None:
    found = board(leaderboard([made("a", "one", 0.5), made("a", "one", 0.6, dtype="bfloat16")]))
    assert sorted(row.variant for row in found.rows) == ["dtype bfloat16", "dtype int8"]


def test_two_versions_of_one_name_are_told_apart() -> None:
    first, second = (f"sha256:{digit * 64}" for digit in "12")
    found = board(leaderboard([made("a", "one", 0.5, model_digest=first), made("a", "one", 0.6, model_digest=second)]))
    assert sorted(row.variant for row in found.rows) == ["1" * 12, "2" * 12]


def test_texts() -> None:
    evaluation = made("a", "one", 0.5, settings={"limit": 4, "sample": True, "chat": False})
    assert settings_text(evaluation) == "examples 0 · limit 4 · chat template no"
    assert percent(share_without_answer(evaluation)) == "25 %"
    assert percent(0.001) == "< 1 %" and percent(0.0) == "0 %"
