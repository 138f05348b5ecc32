"""The steps of a recipe on the first rows: the same as a preparation does, without writing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import pytest

from llmasos.data.prepare import prepare
from llmasos.data.recipe import DataRecipe
from llmasos.data.trial import Trial, try_steps
from llmasos.errors import InvalidRecipe
from llmasos.library.store import Library


def no_model(_: str) -> NoReturn:
    raise AssertionError("no model is asked for")


def recipe(folder: Path, **values: Any) -> DataRecipe:
    lines = [f"row <b>{number}</b> is here,{'x' if number % 2 else 'y'}" for number in range(40)]
    text = "\n".join(["text,label", *lines, "broken", lines[0], ",x", ""])
    (folder / "a.csv").write_text(text)
    steps = [{"step": "remove_html"}, {"step": "exact_duplicates"}, {"step": "filter_length", "most": 13}]
    given = {"kind": "data", "sources": [{"path": "a.csv"}], "steps": steps,
             "split": {"parts": {"validation": 0.2}}, **values}  # fmt: skip
    return DataRecipe.model_validate(given)


def run(given: DataRecipe, folder: Path, most: int = 1000) -> Trial:
    return try_steps(given, folder=folder, open_model=no_model, most=most)


def test_it_is_what_a_preparation_does(tmp_path: Path, home: Path) -> None:
    given = recipe(tmp_path, execution={"workers": 1})
    found = run(given, tmp_path)
    library = Library(home)
    prepared = prepare(given, folder=tmp_path, library=library, open_model=no_model)
    library.close()
    assert [(account.name, account.rows_in, account.rows_out, account.changed, account.rejected)
            for account in found.accounts] == [
        (step["name"], step["rows_in"], step["rows_out"], step["changed"], step["rejected"])
        for step in prepared.facts["steps"]
    ]  # fmt: skip
    assert found.complete and len(found.rows) == prepared.facts["totals"]["kept"]
    splits = [row.metadata["split"] for row in found.rows]
    assert {name: splits.count(name) for name in set(splits)} == prepared.facts["splits"]


def test_only_the_first_rows_are_read(tmp_path: Path) -> None:
    found = run(recipe(tmp_path), tmp_path, most=10)
    assert (found.accounts[0].rows_in, found.complete) == (10, False)


def test_no_row_need_be_left(tmp_path: Path) -> None:
    found = run(recipe(tmp_path, steps=[{"step": "filter_length", "most": 1}]), tmp_path)
    assert found.rows == () and sum(account.rows_rejected for account in found.accounts) == found.accounts[0].rows_in


def test_several_sources_of_one_name(tmp_path: Path) -> None:
    given = recipe(tmp_path, sources=[{"path": "a.csv"}, {"path": "a.csv", "into": "test"}], steps=[], split=None)
    found = run(given, tmp_path)
    assert {row.metadata["split"] for row in found.rows} == {"train", "test"}


def test_what_the_columns_mean_must_be_clear(tmp_path: Path) -> None:
    given = recipe(tmp_path)
    (tmp_path / "a.csv").write_text("one,two\na,b\n")
    with pytest.raises(InvalidRecipe, match="what the columns mean"):
        run(given, tmp_path)


def test_kinds_are_not_mixed(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("prompt,completion\na,b\n")
    given = recipe(tmp_path, sources=[{"path": "a.csv"}, {"path": "b.csv"}])
    with pytest.raises(InvalidRecipe, match="different kinds"):
        run(given, tmp_path)
