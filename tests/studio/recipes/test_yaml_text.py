"""Single values of a YAML text are changed, and all else stays as it was written."""

from __future__ import annotations

import contextlib

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos.errors import InvalidRecipe
from llmasos.studio.recipes.yaml_text import NULL, assigned, change, dump, values_of

WRITTEN = """\
# About this recipe.
kind: sft            # the task
model: a:b

data:
  # what is learned
  train:
    - path: one.csv  # the first
      layout: {kind: label, text: t}
    - path: two.csv
  rendering: {max_length: 128}   # short

method:              # few weights
  kind: lora
  rank: 16
notes: |
  first
  second
"""


@pytest.mark.parametrize(("path", "value", "before", "after"), [
    (("model",), "c", "model: a:b\n", "model: c\n"),
    (("kind",), "x: y", "kind: sft            # the task", "kind: 'x: y'            # the task"),
    (("method", "rank"), 8, "  rank: 16\n", "  rank: 8\n"),
    (("method", "alpha"), 2.5, "  rank: 16\n", "  rank: 16\n  alpha: 2.5\n"),
    (("method", "rank"), None, "  rank: 16\n", ""),
    (("method",), {"kind": "full"}, "method:              # few weights\n  kind: lora\n  rank: 16\n",
     "method: {kind: full} # few weights\n"),
    (("data", "rendering", "max_length"), 64, "{max_length: 128}   # short", "{max_length: 64}   # short"),
    (("data", "rendering", "style"), "plain", "{max_length: 128}", "{max_length: 128, style: plain}"),
    (("data", "rendering", "max_length"), None, "  rendering: {max_length: 128}   # short\n", ""),
    (("data", "train", 0, "layout", "text"), None, "{kind: label, text: t}", "{kind: label}"),
    (("data", "train", 0, "layout", "kind"), None, "{kind: label, text: t}", "{text: t}"),
    (("data", "train", 0, "path"), None, "    - path: one.csv  # the first\n      layout", "    - layout"),
    (("data", "train", 1), None, "    - path: two.csv\n", ""),
    (("data", "train", 2), {"path": "three.csv"}, "    - path: two.csv\n",
     "    - path: two.csv\n    - path: three.csv\n"),
    (("notes",), "one", "notes: |\n  first\n  second\n", "notes: one\n"),
    (("seed",), 7, "  second\n", "  second\nseed: 7\n"),
    (("minutes",), NULL, "  second\n", "  second\nminutes: null\n"),
    (("trainer", "steps"), 5, "  second\n", "  second\ntrainer: {steps: 5}\n"),
    (("model", "reference"), "m", "model: a:b\n", "model: {reference: m}\n"),
])  # fmt: skip
def test_everything_else_stays(path: tuple[str | int, ...], value: object, before: str, after: str) -> None:
    assert before in WRITTEN
    assert change(WRITTEN, path, value) == WRITTEN.replace(before, after)


def test_a_long_mapping_is_written_over_several_lines() -> None:
    value = {"path": "x" * 40, "layout": {"kind": "label", "text": "y" * 40}}
    written = change(WRITTEN, ("data", "train", 0), value)
    assert values_of(written)["data"]["train"][0] == value
    assert change("a: 1\n", ("b",), value).startswith("a: 1\nb:\n  path: ")


def test_true_and_one_are_not_the_same() -> None:
    assert change("a: 1\n", ("a",), True) == "a: true\n"
    assert change("a: 1\n", ("a",), 1.0) == "a: 1.0\n"


def test_nothing_is_changed_where_the_value_stands_already() -> None:
    assert change(WRITTEN, ("method", "rank"), 16) is WRITTEN
    assert change(WRITTEN, ("method", "unknown"), None) is WRITTEN


@pytest.mark.parametrize("text", ["", "# only a comment\n", "{}\n", "a: 1", "? a\n: 1\n", "a: &x {b: 1}\nc: *x\n"])
def test_unusual_texts(text: str) -> None:
    for path, value in ((("b",), 2), (("a",), 5), (("a",), None), (("c", "b"), 3)):
        with contextlib.suppress(yaml.YAMLError):
            assert values_of(change(text, path, value)) == assigned(values_of(text), path, value)


def test_a_text_that_is_no_mapping_is_refused() -> None:
    for text in ("- a\n", "a: [", "a: 1\na: 2\n"):
        with pytest.raises(InvalidRecipe):
            change(text, ("a",), 1)


KEYS = st.sampled_from(["a", "b", "kind", "x y", "1", "true"])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False, width=16),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=8),
    st.sampled_from(["# no", "a: b", "- x", "null", "1", "'", '"', "two\nlines\n", " lead", "trail ", "é\u2028"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
MAPPINGS = st.dictionaries(KEYS, VALUES, max_size=4)


@settings(max_examples=400, deadline=None)
@given(
    values=MAPPINGS, flow=st.sampled_from([None, False, True]),
    path=st.lists(KEYS | st.integers(0, 2), min_size=1, max_size=4).map(tuple), value=VALUES,
)  # fmt: skip
def test_the_text_says_what_was_put(values: dict, flow: bool | None, path: tuple, value: object) -> None:
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=flow)
    if isinstance(path[0], int):
        path = ("a", *path)
    try:
        wanted = assigned(values, path, value)
    except KeyError:  # beyond the end of a list
        return
    assert repr(values_of(change(text, path, value))) == repr(wanted)
    commented = "# first\n" + text
    assert change(commented, path, value).startswith("# first\n")


@given(values=MAPPINGS)
def test_dumped_values_are_read_back(values: dict) -> None:
    assert values_of(dump(values)) == values if values else True
