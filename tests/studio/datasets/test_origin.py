"""Data as addresses name them, and as recipes do."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmasos.data.recipe import DataRecipe
from llmasos.data.sources.layout import LabelLayout
from llmasos.errors import InvalidRequest
from llmasos.studio.datasets.origin import Origin, path_given


@pytest.mark.parametrize(("origin", "title", "entry"), [
    (Origin("/data/a b.csv"), "a b.csv", {"path": "/data/a b.csv"}),
    (Origin("/"), "/", {"path": "/"}),
    (Origin("my/data:clean"), "my/data:clean", {"source": "library", "reference": "my/data:clean"}),
    (Origin("my/data", "test"), "my/data", {"source": "library", "reference": "my/data", "split": "test"}),
])  # fmt: skip
def test_recipes_name_the_same(origin: Origin, title: str, entry: dict[str, str]) -> None:
    assert (origin.title, origin.entry()) == (title, entry)
    recipe = DataRecipe.model_validate(
        {"kind": "data", "sources": [origin.entry(LabelLayout(text="said", names=("a",)))]}
    )
    assert recipe.sources[0] == origin.source(LabelLayout(text="said", names=("a",)))


def test_paths_of_people_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert path_given(" ~/x/*.jsonl ").data == path_given("x/*.jsonl").data == str(tmp_path / "x" / "*.jsonl")
    with pytest.raises(InvalidRequest) as refused:
        path_given("  ")
    assert refused.value.hint
