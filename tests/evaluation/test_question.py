from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evaluation_cases import make_task
from llmasos.errors import InvalidRecipe
from llmasos.evaluation.question import Question, Questions


def question(tmp_path: Path, kind: str, row: dict[str, Any], **keys: Any) -> Question:
    found = make_task(tmp_path, kind, rows=[row], **keys)
    return Questions(found.task).of(row)


CHOICE: dict[str, Any] = {"prompt": "{{q}}", "choices": "{{c}}"}


@pytest.mark.parametrize(
    ("answer", "labels", "targets"),
    [
        (1, None, (1,)),
        ("1", None, (1,)),
        ("yes", None, (0,)),
        (" no ", None, (1,)),
        ("B", ["A", "B"], (1,)),
        ("2", ["1", "2"], (1,)),  # ARC has labels that are numbers from 1
        ([0, 1], None, (0, 1)),
    ],
)
def test_the_right_choice(tmp_path: Path, answer: Any, labels: Any, targets: tuple[int, ...]) -> None:
    row = {"q": "Q", "c": ["yes", "no"], "a": answer}
    more = {} if labels is None else {"labels": labels}
    found = question(tmp_path, "choice", row, **CHOICE, answer="{{a}}", **more)
    assert found.targets == targets
    assert found.references == tuple(row["c"][place] for place in targets)
    assert found.solution == row["c"][targets[0]]


@pytest.mark.parametrize("answer", [2, -1, "C", "maybe", "", None, []])
def test_answers_that_name_no_choice(tmp_path: Path, answer: Any) -> None:
    with pytest.raises(InvalidRecipe, match="answer = "):
        question(tmp_path, "choice", {"q": "Q", "c": ["yes", "no"], "a": answer}, **CHOICE, answer="{{a}}")


def test_labels_from_the_row(tmp_path: Path) -> None:
    row = {"q": "Q", "c": {"text": ["x", "y"], "label": ["C", "D"]}, "a": "D"}
    found = question(
        tmp_path, "choice", row, prompt="{{q}}", choices="{{c.text}}", labels="{{c.label}}", answer="{{a}}"
    )
    assert found.targets == (1,)


def test_choices_as_templates(tmp_path: Path) -> None:
    row = {"q": "Q", "x": "one", "y": "two"}
    found = question(tmp_path, "choice", row, prompt="{{q}}", choices=["{{x}}!", "{{y}}"], answer="{{1}}")
    assert found.choices == ("one!", "two")


@pytest.mark.parametrize("choices", [[], {"a": 1}])
def test_choices_that_are_no_list(tmp_path: Path, choices: Any) -> None:
    with pytest.raises(InvalidRecipe, match="choices = "):
        question(tmp_path, "choice", {"q": "Q", "c": choices}, **CHOICE, answer="0")


def test_references_are_a_text_or_a_list(tmp_path: Path) -> None:
    keys = {"prompt": "{{q}}", "references": "{{a}}"}
    assert question(tmp_path, "generation", {"q": "Q", "a": "x"}, **keys).references == ("x",)
    many = question(tmp_path, "generation", {"q": "Q", "a": ["x", 3]}, **keys)
    assert many.references == ("x", "3")
    assert many.solution == "x"
    told = question(tmp_path, "generation", {"q": "Q", "a": ["x"]}, **keys, target="because {{a[0]}}")
    assert told.solution == "because x"


def test_a_class_by_number_or_name(tmp_path: Path) -> None:
    keys = {"prompt": "{{t}}", "text": "{{t}}", "labels": ["bad", "good"], "words": ["no", "yes"], "answer": "{{l}}"}
    for label in (1, "1", "good"):
        found = question(tmp_path, "classification", {"t": "T", "l": label}, **keys)
        assert (found.targets, found.references, found.solution) == ((1,), ("good",), "yes")
    with pytest.raises(InvalidRecipe) as caught:
        question(tmp_path, "classification", {"t": "T", "l": "goood"}, **keys)
    assert caught.value.hint == "did you mean good?"


def test_instructions_need_as_many_arguments(tmp_path: Path) -> None:
    keys = {"prompt": "{{q}}", "instructions": "{{i}}", "arguments": "{{a}}"}
    found = question(tmp_path, "instructions", {"q": "Q", "i": ["x", "y"], "a": [{"n": 1}, None]}, **keys)
    assert found.arguments == ({"n": 1}, {})
    with pytest.raises(InvalidRecipe, match="arguments = "):
        question(tmp_path, "instructions", {"q": "Q", "i": ["x", "y"], "a": [{}]}, **keys)
