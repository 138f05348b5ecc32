"""What a training begins with."""

from __future__ import annotations

import typing
from pathlib import Path

import pytest

from llmasos.data.sources import layout
from llmasos.library.store import Library
from llmasos.studio.recipes.draft import Draft
from llmasos.studio.training import goals
from llmasos.studio.training.model_choice import first_model
from llmasos.training.feeding import check_kind
from llmasos.training.launch import read_recipe
from llmasos.training.presets.table import KINDS_OF_FAMILY
from llmasos.training.recipe.kinds import KINDS


def test_there_is_a_goal_for_every_kind_of_recipe() -> None:
    assert {goal.kind for goal in goals.goals()} == set(KINDS) == set(goals.FAMILIES) == set(goals.LAYOUTS)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_recipe_begins_with_is_valid(kind: str, tmp_path: Path) -> None:
    model = first_model(Library(tmp_path), kind)
    model = "a/model" if model is None or kind in ("sft", "reward") else model  # low rank is for models that exist
    values = goals.first_values(kind, model=model, entry={"path": "a.csv"}, title="a.csv")
    assert Draft(kind, values).problems() == []
    recipe = read_recipe({"kind": kind, **values})
    for name in goals.LAYOUTS[kind]:
        check_kind(recipe, name)


def test_layouts_are_those_of_sources() -> None:
    known = {member.model_fields["kind"].default for member in typing.get_args(typing.get_args(layout.Layout)[0])}
    assert {name for names in goals.LAYOUTS.values() for name in names} <= known


@pytest.mark.parametrize("kind", KINDS)
def test_new_models_are_offered_where_they_can_be_trained(kind: str) -> None:
    for preset in goals.fitting_presets(kind):
        assert kind in KINDS_OF_FAMILY[preset.family]


@pytest.mark.parametrize(("title", "name"), [
    ("Customer Messages.en.csv", "my/customer-messages-classifier"), ("my/data:clean", "my/data-classifier"),
    ("中文.csv", "my/classifier"), ("", "my/classifier"),
])  # fmt: skip
def test_results_are_named_after_their_data(title: str, name: str) -> None:
    assert goals.result_name("classify", title) == name


def test_entries_of_a_recipe_as_the_studio_shows_them() -> None:
    found = goals.origin_of({"path": "/a.csv"})
    assert found is not None and found.data == "/a.csv"
    found = goals.origin_of({"source": "library", "reference": "my/data", "split": "test"})
    assert found is not None and (found.data, found.split) == ("my/data", "test")
    assert goals.origin_of({"path": ["/a.csv", "/b.csv"]}) is None
    assert goals.origin_of({"source": "hub", "dataset": "a/b"}) is None
