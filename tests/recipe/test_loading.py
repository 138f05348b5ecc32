from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from llmasos.errors import InvalidRecipe, NotFound
from llmasos.recipe import loading
from llmasos.recipe.explain import explain
from llmasos.recipe.loading import Recipe, keys_at
from llmasos.recipe.unions import default_tag


class Red(BaseModel):
    """The colour red."""

    model_config = ConfigDict(extra="forbid")
    colour: Literal["red"] = "red"
    depth: int = Field(1, ge=0, description="How deep.")


class Blue(BaseModel):
    """The colour blue."""

    model_config = ConfigDict(extra="forbid")
    colour: Literal["blue"] = "blue"
    brightness: float = Field(description="How bright.")


Colour = Annotated[Annotated[Red | Blue, Field(discriminator="colour")], default_tag("colour", "red")]


class Painting(Recipe):
    kind: Literal["painting"]
    title: str = Field(description="Its name.")
    layers: tuple[Colour, ...] = Field((), description="From below.")
    frame: Red | None = None
    sizes: dict[str, int] = Field(default_factory=dict)


def load(tmp_path: Path, text: str, *assignments: str) -> Painting:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return loading.load(path, Painting, assignments)


GOOD = """
kind: painting
title: ${what} at ${when}
variables: {what: Dawn, when: 6}
layers:
  - depth: 3
  - colour: blue
    brightness: 0.5
"""


def test_a_good_recipe(tmp_path: Path) -> None:
    recipe = load(tmp_path, GOOD, "variables.when=7", "layers.0.depth=4", "sizes.a=3")
    assert recipe.title == "Dawn at 7"
    assert [layer.model_dump() for layer in recipe.layers] == [
        {"colour": "red", "depth": 4},
        {"colour": "blue", "brightness": 0.5},
    ]
    assert recipe.sizes == {"a": 3}


def test_all_problems_are_reported_at_once_with_lines(tmp_path: Path) -> None:
    text = """kind: painting
titel: x
layers:
  - colour: blue
    brigthness: 1
  - depth: -1
  - colour: gren
frame:
  deph: 2
"""
    with pytest.raises(InvalidRecipe) as caught:
        load(tmp_path, text)
    lines = caught.value.message.replace(str(tmp_path), "").splitlines()
    assert lines[0] == "the recipe /recipe.yaml has 7 problem(s):"
    found = "\n".join(lines)
    assert "/recipe.yaml:2: titel: unknown key (did you mean title?)" in found
    assert "/recipe.yaml:1: title: this key is needed" in found
    assert "/recipe.yaml:5: layers.0.blue.brigthness: unknown key (did you mean brightness?)" in found
    assert "/recipe.yaml:4: layers.0.blue.brightness: this key is needed" in found
    assert "/recipe.yaml:6: layers.1.red.depth = -1: Input should be greater than or equal to 0" in found
    assert "/recipe.yaml:7: layers.2: colour = 'gren' is not allowed" in found
    assert "/recipe.yaml:9: frame.deph: unknown key (did you mean depth?)" in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", r"recipe\.yaml:\d: not valid YAML"),
        ("- a", "a recipe is a mapping"),
        ("kind: a\nkind: b", r"recipe\.yaml:2: not valid YAML: the key 'kind' stands twice"),
        (
            "kind: painting\ntitle: ${waht}\nvariables: {what: x}",
            r"recipe\.yaml:2: there is no variable 'waht' \(did you mean what\?\)",
        ),
    ],
)  # fmt: skip
def test_what_is_no_recipe(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match=message):
        load(tmp_path, text)


@pytest.mark.parametrize("assignment", ["title", "=3", "layers.9.depth=1", "title.x=1"])
def test_assignments_that_lead_nowhere(assignment: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match="--set"):
        load(tmp_path, GOOD, assignment)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        loading.load(tmp_path / "none.yaml", Painting)


def test_keys_at_every_depth() -> None:
    assert keys_at(Painting, ()) == {"variables", "kind", "title", "layers", "frame", "sizes"}
    assert keys_at(Painting, ("layers", 0, "blue")) == {"colour", "brightness"}
    assert keys_at(Painting, ("frame",)) == {"colour", "depth"}


def test_every_key_is_explained() -> None:
    rows = {row.path: row for row in explain(Painting)}
    assert rows["layers[][colour=red].depth"].default == "1"
    assert rows["layers[][colour=red]"].description == "The colour red."
    assert rows["title"].description == "Its name."
    assert "kind" in rows
