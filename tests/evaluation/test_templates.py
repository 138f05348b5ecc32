from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos.errors import InvalidRecipe, LLMasOSError, UnsafeContent
from llmasos.evaluation.templates import Template

ROW: dict[str, Any] = {
    "question": "Why?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "n": 3, "Best Answer": "x", "self": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("{{choices.text}}", ["a", "b"]),
        ("{{n}}", 3),
        ("{{n}}\n", 3),  # blocks of YAML end with a line feed
        ("{{- n -}}", 3),
        ("{{n + 1 == 4}}", True),
        ("{{row['Best Answer']}}", "x"),
        ("{{row.self}}", 1),  # a name of Jinja's own
        ("{{choices.label.index('B')}}", 1),
        (" {{n}}", " 3"),  # a blank that was written is kept
        ("{{n}}{{n}}", "33"),
        ("Q: {{question}}", "Q: Why?"),
        ("no braces", "no braces"),
        ("", ""),
        ("{{n | letter}}", "D"),
        ("{{'c' | number_of}}", 2),
        ("{{'a  b [x]' | regex_replace('\\\\[.*?\\\\]') | trim}}", "a  b"),
        ("{{'#### 42' | regex_find('#### (\\\\d+)')}}", "42"),
        ("{{'none' | regex_find('\\\\d')}}", ""),
        (r"{{'\\boxed{1}, then \\fbox{2}' | boxed}}", "2"),
        ("{{choices.text | lettered}}", "A. a\nB. b"),
        ("{{choices.text | lettered(' ', '({letter}) {choice}')}}", "(A) a (B) b"),
        ("{% for c in choices.text %}{{loop.index0 | letter}}{{c}}{% endfor %}", "AaBb"),
    ],
)
def test_values(source: str, value: object) -> None:
    assert Template(source, "prompt").value(ROW) == value


def test_text_is_always_a_text() -> None:
    assert Template("{{n}}", "prompt").text(ROW) == "3"


def test_a_column_that_is_not_there() -> None:
    for source in ("{{questoin}}", "Q: {{questoin}}"):
        with pytest.raises(InvalidRecipe, match=r"arc: prompt: 'questoin' is undefined") as caught:
            Template(source, "arc: prompt").value(ROW)
        assert caught.value.hint == "did you mean question?"
    with pytest.raises(InvalidRecipe) as caught:
        Template("{{zzz}}", "p").value(ROW)
    assert "question, choices, n" in str(caught.value.hint)
    with pytest.raises(InvalidRecipe, match="no attribute 'txet'"):
        Template("{{choices.txet}}", "p").value(ROW)


def test_a_syntax_error_names_key_and_line() -> None:
    with pytest.raises(InvalidRecipe, match="arc: prompt: line 2 of the template"):
        Template("a\n{% if %}", "arc: prompt")


def test_a_row_that_a_template_fails_on_is_shown() -> None:
    with pytest.raises(InvalidRecipe, match="TypeError") as caught:
        Template("{{n + question}}", "p").value(ROW)
    assert "n = '3'" in str(caught.value.hint)
    with pytest.raises(InvalidRecipe, match="no box with an answer"):
        Template("{{question | boxed}}", "p").value(ROW)
    with pytest.raises(InvalidRecipe, match="error"):
        Template("{{question | regex_find('(')}}", "p").value(ROW)


@pytest.mark.parametrize("source", ["{{''.__class__.__mro__}}", "{{n.__class__}}", "{{choices.text.append('c')}} x"])
def test_templates_cannot_leave_the_sandbox(source: str) -> None:
    with pytest.raises(UnsafeContent):
        Template(source, "p").value(ROW)
    assert ROW["choices"]["text"] == ["a", "b"]


@given(st.text(alphabet="{}%|'qn .[]()#-", max_size=12))
def test_any_template_gives_a_value_or_an_error_of_ours(source: str) -> None:
    with contextlib.suppress(LLMasOSError):
        assert isinstance(Template(source, "p").text({"q": "x", "n": 1}), str)
