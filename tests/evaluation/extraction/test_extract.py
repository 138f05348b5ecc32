"""Answers are read where there are some, ``None`` says that there are none, and nothing raises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from llmasos.evaluation.extraction.extract import extract
from llmasos.evaluation.extraction.options import (
    Boxed,
    ChoiceLetter,
    CodeBlock,
    Extraction,
    FirstLine,
    Json,
    LastNumber,
    Regex,
    Whole,
)

EVERY: list[Extraction] = [
    Regex(pattern=r"(\d+)"),
    Regex(pattern=r"^x(?P<y>.*)$", group="y", take="last"),
    LastNumber(),
    LastNumber(after=("####",)),
    Boxed(),
    ChoiceLetter(),
    CodeBlock(),
    CodeBlock(take="last", unfenced="whole"),
    FirstLine(),
    Json(),
    Json(path="a[0].b"),
    Whole(),
]
NASTY = st.text(alphabet="aB1{}[]()\\$,.:-/\"'`\n \t#答案是一百分之点负三万亿²½٣\x00", max_size=80)


@pytest.mark.parametrize("options", EVERY, ids=str)
@given(output=st.one_of(st.text(), NASTY))
def test_nothing_raises_and_no_answer_is_empty(options: Extraction, output: str) -> None:
    answer = extract(options, output)
    assert answer is None or (answer and answer.strip())


@pytest.mark.parametrize("options", EVERY, ids=str)
@pytest.mark.parametrize("output", ["", "  \n ", "[" * 5000, "{" * 5000, "9" * 6000, "\\boxed{" * 1000, "(" * 9000])
def test_degenerate_outputs(options: Extraction, output: str) -> None:
    if not output.strip():
        assert extract(options, output) is None
    else:
        answer = extract(options, output)
        assert answer is None or answer.strip()


@pytest.mark.parametrize(
    ("options", "output", "answer"),
    [
        (Regex(pattern=r"#### (-?\d+)"), "so\n#### 18\n#### 19", "18"),
        (Regex(pattern=r"#### (-?\d+)", take="last"), "so\n#### 18\n#### 19", "19"),
        (Regex(pattern=r"\d+"), "a 7", "7"),
        (Regex(pattern=r"(a)(?P<n>\d)", group="n"), "a7", "7"),
        (Regex(pattern=r"(a)(\d)", group=0), "a7", "a7"),
        (Regex(pattern=r"^answer: (.*)$", ignore_case=True), "x\nAnswer: yes \nz", "yes"),
        (Regex(pattern=r"(x)?y"), "y", None),
        (LastNumber(after="####"), "1 2 #### 18 apples and 5", "18"),
        (LastNumber(after="####"), "1 and 2", "2"),
        (LastNumber(after=("####", "答案")), "答案 3 个，不是 4", "3"),
        (LastNumber(after="####"), "5 #### none", None),
        (LastNumber(chinese=False), "三百", None),
        (Boxed(), r"first \boxed{1}, then \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (Boxed(), r"\boxed{1} and \boxed{2", "1"),
        (Boxed(), r"$\fbox{\{1\}}$", r"\{1\}"),
        (Boxed(), r"\boxed 7.", "7"),
        (Boxed(), "7", None),
        (Boxed(), r"\boxed{}", None),
        (FirstLine(), "\n  yes \nno", "yes"),
        (Whole(), "\n yes\nno ", "yes\nno"),
        (Json(path="answer"), 'I say {"answer": 3} or {"answer": 4}', "3"),
        (Json(path="a.b[1]"), '```json\n{"a": {"b": [1, "two"]}}\n```', "two"),
        (Json(path="a[-1]"), '{"b": 1} {"a": [1, true]}', "true"),
        (Json(path="answer"), '{"answer": null}', None),
        (Json(path="answer"), '{"answer": ', None),
        (Json(path="answer"), '{"inner": {"answer": 1}}', None),
        (Json(), "12", "12"),
        (Json(), ' see {"a": "中"}', '{"a": "中"}'),
    ],
)
def test_answers(options: Extraction, output: str, answer: str | None) -> None:
    assert extract(options, output) == answer


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"kind": "regex", "pattern": "("}, "no regular expression"),
        ({"kind": "regex", "pattern": "a", "group": 1}, "no group 1"),
        ({"kind": "regex", "pattern": "(?P<x>a)", "group": "y"}, "its named groups: x"),
        ({"kind": "choice_letter", "letters": "AAB"}, "different capitals"),
        ({"kind": "json", "path": "a..b"}, "keys with points"),
        ({"kind": "whole", "extra": 1}, "Extra inputs"),
        ({"kind": "last"}, "last_number"),
    ],
)
def test_wrong_options_are_refused(values: dict[str, object], problem: str) -> None:
    adapter: TypeAdapter[Extraction] = TypeAdapter(Extraction)
    with pytest.raises(ValidationError, match=problem):
        adapter.validate_python(values)


def test_every_field_is_described() -> None:
    for options in EVERY:
        assert type(options).__doc__
        for name, field in type(options).model_fields.items():
            assert field.description or name == "kind", (type(options), name)
