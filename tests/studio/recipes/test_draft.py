"""A recipe that is written by form and by hand at the same time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos.errors import InvalidRecipe, InvalidRequest
from llmasos.recipe import loading
from llmasos.recipe.document import Path
from llmasos.studio.recipes import rows
from llmasos.studio.recipes.controls import default_text, read_number
from llmasos.studio.recipes.draft import MODELS, Draft, path_of
from llmasos.studio.recipes.rows import Row
from llmasos.studio.recipes.shape import Entries, Group, Kinds, Shape, Single, shape_of
from llmasos.studio.recipes.yaml_text import NULL, values_of

START = {"model": "minilm:l6-v2", "data": {"train": [{"path": "a.csv"}]}}


def draft(kind: str = "classify") -> Draft:
    return Draft(kind, START)


def kind_row(item: Draft, *path: str | int) -> Kinds:
    shape = rows.find(item.shape, item.shown, path)
    assert isinstance(shape, Kinds)
    return shape


@pytest.mark.parametrize("kind", MODELS)
def test_every_kind_of_recipe_has_a_form(kind: str) -> None:
    item = Draft(kind, {})
    assert item.problems()
    found = list(rows.rows(item.shape, item.shown))
    assert len({(row.what, row.path) for row in found}) == len(found)
    assert all(row.shape.help for row in found if row.what in ("field", "kind") and isinstance(row.shape, Single))


def test_a_change_of_the_form_changes_the_text() -> None:
    item = draft()
    item.put(("trainer", "epochs"), 2)
    item.put(("schedule", "warmup"), 0.1)
    assert item.problems() == []
    assert item.values() == {
        "kind": "classify", **START, "trainer": {"epochs": 2}, "schedule": {"kind": "cosine", "warmup": 0.1},
    }  # fmt: skip
    item.put(("trainer", "epochs"), None)
    assert "trainer" not in item.values()


def test_a_change_of_the_text_changes_what_the_form_shows() -> None:
    item = draft()
    item.write(item.text + "method: {kind: lora, rank: 4}\n")
    assert rows.at(item.shown, ("method", "rank")) == 4
    assert any(row.path == ("method", "alpha") for row in rows.rows(item.shape, item.shown))


def test_an_invalid_text_tells_all_problems_and_leaves_the_form() -> None:
    item = draft()
    item.put(("trainer", "epochs"), 2)
    item.write(item.text.replace("epochs: 2", "epochs: two, batch_siz: 3") + "seed: -1\n")
    problems = item.problems()
    assert len(problems) == 3
    assert any("YAML:6: trainer.batch_siz: unknown key" in problem and "batch_size" in problem for problem in problems)
    assert any("YAML:7: seed" in problem for problem in problems)
    assert rows.at(item.shown, ("trainer", "epochs")) == 2
    with pytest.raises(InvalidRecipe, match="3 problem"):
        item.values()
    item.put(("seed",), 1)  # the form mends what it can, and leaves the rest
    assert len(item.problems()) == 2


def test_a_text_that_is_no_yaml_is_left_alone() -> None:
    item = draft()
    item.write("kind: [")
    assert not item.readable
    assert "YAML:1: not valid YAML" in item.problems()[0]
    assert rows.at(item.shown, ("model", "reference")) == "minilm:l6-v2"
    with pytest.raises(InvalidRequest, match="cannot be read"):
        item.put(("seed",), 1)
    assert item.text == "kind: ["


def test_the_name_of_a_model_stays_a_name() -> None:
    item = draft()
    item.put(("model", "reference"), "smollm2:135m")
    assert item.values()["model"] == "smollm2:135m"
    item.choose_kind(("model",), kind_row(item, "model"), "preset")
    item.put(("model", "preset"), "bert-4m")
    assert item.problems() == []
    assert item.values()["model"] == {"start": "preset", "preset": "bert-4m"}
    item.choose_kind(("model",), kind_row(item, "model"), "pretrained")
    item.put_all({"model.reference": "x"})
    assert item.values()["model"]["reference"] == "x"


def test_kinds_keep_what_they_share() -> None:
    item = draft()
    item.choose_kind(("method",), kind_row(item, "method"), "lora")
    item.put_all({"method.learning_rate": 0.01, "method.rank": 4})
    item.choose_kind(("method",), kind_row(item, "method"), "qlora")
    assert item.values()["method"] == {"kind": "qlora", "learning_rate": 0.01, "rank": 4}
    item.choose_kind(("method",), kind_row(item, "method"), "full")
    assert item.values()["method"] == {"kind": "full", "learning_rate": 0.01}


def test_a_kind_that_nothing_implies_is_chosen_and_taken_away() -> None:
    item = draft()
    path: Path = ("data", "train", 0, "layout")
    assert kind_row(item, *path).kind_of(rows.at(item.shown, path)) is None
    item.choose_kind(path, kind_row(item, *path), "label")
    item.put((*path, "text"), "sentence")
    assert item.values()["data"]["train"] == [{"path": "a.csv", "layout": {"kind": "label", "text": "sentence"}}]
    item.choose_kind(path, kind_row(item, *path), None)
    assert item.values()["data"]["train"] == [{"path": "a.csv"}]


def test_entries_are_added_and_taken_away() -> None:
    item = draft()
    item.put(("data", "validation", 0), {})
    assert any(row.path == ("data", "validation", 0, "path") for row in rows.rows(item.shape, item.shown))
    item.put(("data", "validation", 0, "path"), "b.csv")
    assert item.problems() == []
    item.put(("data", "validation", 0), None)
    assert item.values()["data"] == START["data"]


def test_null_is_not_the_default() -> None:
    item = draft()
    item.put(("checkpoints", "minutes"), NULL)
    assert item.values()["checkpoints"] == {"minutes": None}
    assert rows.holds(item.shown, ("checkpoints", "minutes"))


def test_a_group_that_may_be_left_out() -> None:
    item = draft()
    path: Path = ("evaluation", "early_stopping")
    assert not any(row.path[:2] == path and len(row.path) > 2 for row in rows.rows(item.shape, item.shown))
    item.put(path, {})
    assert item.problems() == []
    assert any(row.path == (*path, "patience") for row in rows.rows(item.shape, item.shown))


def test_paths_that_do_not_exist_now() -> None:
    item = draft()
    assert rows.find(item.shape, item.shown, ("method", "rank")) is None
    assert rows.find(item.shape, item.shown, ("method", "kind")) is item.shape.fields["method"]
    assert rows.find(item.shape, item.shown, ("data", "train", 0, "path")) is not None
    assert path_of("data.train.0.path") == ("data", "train", 0, "path")


@pytest.mark.parametrize(("text", "number"), [("3", 3), ("2e-4", 2e-4), (" 0.5 ", 0.5), ("three", "three")])
def test_numbers_are_read_and_other_texts_left_for_the_check(text: str, number: object) -> None:
    assert repr(read_number(text)) == repr(number)


def test_defaults_are_told() -> None:
    fields = shape_of(MODELS["sft"]).fields
    trainer = fields["trainer"]
    assert isinstance(trainer, Group)
    shown = {name: default_text(shape) for name, shape in trainer.fields.items() if isinstance(shape, Single)}
    assert (shown["batch_size"], shown["epochs"], shown["compile"], shown["max_gradient_norm"]) == (
        "16", "", "false", "1",
    )  # fmt: skip


def _value(shape: Shape) -> st.SearchStrategy[object]:
    if isinstance(shape, Single) and shape.control == "choice":
        return st.sampled_from(shape.choices) | st.none()
    return {
        "switch": st.booleans(), "number": st.integers(0, 4) | st.floats(0, 1, width=16), "texts": st.just(["a", "b"]),
        "text": st.text("ab:#- ", max_size=5),
    }.get(getattr(shape, "control", ""), st.just({"a": 1})) | st.none()  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(data=st.data(), kind=st.sampled_from(sorted(MODELS)))
def test_form_and_text_always_say_the_same(data: st.DataObject, kind: str) -> None:
    item = Draft(kind, {})
    for _ in range(data.draw(st.integers(1, 8))):
        found = [row for row in rows.rows(item.shape, item.shown) if row.what not in ("group",)]
        row: Row = data.draw(st.sampled_from(found))
        if isinstance(row.shape, Kinds) and row.what == "kind":
            chosen = data.draw(st.sampled_from(sorted(row.shape.members)))
            item.choose_kind(row.path, row.shape, chosen)
            assert row.shape.kind_of(rows.at(item.shown, row.path)) == chosen
        elif row.what == "add":
            assert isinstance(row.shape, Entries)
            item.put((*row.path, len(rows.at(item.shown, row.path) or [])), {})
        elif row.what == "field":
            value = data.draw(_value(row.shape))
            item.put(row.path, value)
            assert rows.at(item.shown, row.path) == value
        assert item.shown == rows.expanded(item.shape, values_of(item.text))
        again = Draft(kind, {})
        again.write(item.text)
        assert again.problems() == item.problems()
        if not item.problems():
            assert again.shown == item.shown
            loading.check(item._document(), MODELS[kind])
