"""Expressions of users: what they can say, and that they cannot do anything else."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data_rows import prompt, row
from llmasos.data.filters.expression import ExpressionFilter, FilterExpression
from llmasos.data.filters.safe_expression import MOST_NODES, ExpressionError, compile_expression
from llmasos.errors import InvalidRecipe

ROW = row("Hello, world! See http://x.org", 3, stars=4, topic="news", empty=None)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("characters > 10 and characters < 100", True),
        ("len(text) == characters", True),
        ("word_count >= 4", True),
        ('"http" not in text', False),
        ('metadata["stars"] >= 4', True),
        ('metadata["topic"] in ("news", "sport")', True),
        ('metadata["missing"] is None', True),
        ('metadata["missing"] is not None or kind == "text"', True),
        ('texts["text"] == text', True),
        ('texts["completion"] is None', True),
        ("2 + 3 * 4 - 1 == 13 and 7 // 2 == 3 and 7 % 2 == 1 and 1 / 2 == 0.5 and -1 < 0", True),
        ("1 < line < 5", True),
        ("1 < line < 3", False),
        ("not (characters > 5)", False),
        ('lower(text) == "hello, world! see http://x.org"', True),
        ('starts_with(text, "Hello") and ends_with(strip(text), "org")', True),
        ('count(text, "l") == 3 and len(words(text)) == 4 and len(lines(text)) == 1', True),
        (r'matches(text, "\\bworld\\b") and count_matches(text, "[A-Z]") == 2', True),
        ("max(1, 2, 3) == 3 and min(characters, 5) == 5 and abs(0 - 2) == 2 and round(2.6) == 3", True),
        ('number("4.5") > 4', True),
        ('"a" if line > 100 else True', True),
        ('source == "made" and file == "file.jsonl" and id == "made/file.jsonl:3"', True),
    ],
)
def test_what_can_be_said(expression: str, expected: bool) -> None:
    rejection = FilterExpression(keep=expression).build()(ROW)
    assert (rejection is None) == expected
    if rejection is not None:
        assert (rejection.reason, rejection.detail) == ("expression_false", expression)


@pytest.mark.parametrize(
    "expression",
    [
        "text.__class__", "().__class__.__bases__", "text.upper()", "__import__('os')", "open('x')", "eval('1')",
        "exec('1')", "getattr(text, 'upper')", "(lambda: 1)()", "[x for x in text]", "{x for x in text}",
        "{x: 1 for x in text}", "(x for x in text)", "2 ** 99999", "1 << 999999", "text[0]", "text[0:1]",
        'metadata["a"]["b"]', "metadata[kind]", "metadata", "f'{text}'", "(y := 5)", "print(1)", "text @ text",
        "~1", "+1", "1 | 2", "*text", "len(*text)", "len(obj=text)", "{'a': 1}", "b'x'", "1j", "...",
        "await x", "yield", "9999999999999999999999", "matches(text, text)", "matches(text, '(')",
        "count_matches('a', kind)", "len()", "len(text, text)", "unknown_name", "", " ", "1 +", "import os", "a = 1",
        "(lambda x: x.__globals__)", "metadata.__class__", "len.__self__", "words.__code__",
        "().__class__.__mro__[1].__subclasses__()", "'%s' and globals()", "type(text)", "__builtins__",
    ],
)  # fmt: skip
def test_nothing_else_is_possible(expression: str) -> None:
    with pytest.raises(ValidationError, match="Value error"):
        FilterExpression(keep=expression)


@pytest.mark.parametrize(
    "expression",
    [
        "text * 1000000000 == ''", "text + text == ''", "'%99999999d' % 1 == ''", "1 / 0 > 1", "1 % 0 == 1",
        'metadata["missing"] > 3', "len(characters) > 1", "1 in 2", 'number("x") > 1', "lower(1) == 'a'",
        "metadata['topic'] < 3", "-text == 1", "True + 1 == 2", "(9e18 + 9e18) + 1 > 0",
    ],
)  # fmt: skip
def test_a_row_without_a_value_is_rejected_with_the_problem(expression: str) -> None:
    rejection = ExpressionFilter(expression)(ROW)
    assert rejection is not None
    assert rejection.reason == "expression_failed"
    assert rejection.detail.endswith(f"in: {expression}")


def test_a_pattern_that_takes_too_long_is_stopped() -> None:
    rejection = ExpressionFilter(r'matches(text, "^(a|a|aa)+$")')(row("a" * 60 + "b"))
    assert rejection is not None
    assert "TimeoutError" in rejection.detail


def test_size_is_bounded() -> None:
    with pytest.raises(InvalidRecipe, match="parts, at most"):
        compile_expression("+".join(["1"] * MOST_NODES), frozenset(), frozenset())
    with pytest.raises(InvalidRecipe, match="characters, at most"):
        compile_expression("1 == 1 " + " " * 3000 + "and 1 == 1", frozenset(), frozenset())
    with pytest.raises(InvalidRecipe):
        compile_expression("(" * 900 + "1" + ")" * 900, frozenset(), frozenset())
    with pytest.raises(InvalidRecipe):
        compile_expression("not " * 400 + "1", frozenset(), frozenset())


def test_mistakes_come_with_a_suggestion() -> None:
    with pytest.raises(InvalidRecipe, match="uses 'charcters', which does not exist") as error:
        compile_expression("charcters > 5", frozenset({"characters", "text"}), frozenset())
    assert error.value.hint == "did you mean characters?"
    with pytest.raises(InvalidRecipe, match="calls 'match'") as error:
        compile_expression("match(text, 'x')", frozenset({"text"}), frozenset())
    assert "matches" in str(error.value.hint)
    with pytest.raises(ValidationError, match="charcters"):
        FilterExpression(keep="charcters > 5")


def test_places_of_a_prompt() -> None:
    keep = FilterExpression(keep='texts["completion"] != "" and texts["prompt"] != texts["completion"]').build()
    assert keep(prompt("a", "b")) is None
    assert keep(prompt("a", "")) is not None


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=40), st.text(alphabet="text len()[]'\"and or.<>=+-*1, ", max_size=40)))
def test_any_source_is_compiled_or_refused(source: str) -> None:
    try:
        run = compile_expression(source, frozenset({"text"}), frozenset({"metadata"}))
    except InvalidRecipe:
        return
    with suppress(ExpressionError):
        run({"text": "some text", "metadata": {}})
