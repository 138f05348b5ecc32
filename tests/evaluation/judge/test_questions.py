from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos.evaluation.judge.questions import (
    Verdict,
    language_of,
    pair_question,
    read_score,
    read_verdict,
    single_question,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Good.\nScore: 7", 7),
        ("Score: 3 at first, but then\n**Score:** 8.5", 8.5),
        ("说明。\n评分：9", 9),
        ('{"score": 4}', 4),
        ("Score: [6]", 6),
        ("<think>Score: 2</think>Fine. Score: 5", 5),
        ("<think>At first sight Score: 2, but", None),
        ("Score: 11", None),
        ("Score: 0", None),
        ("It is fine.", None),
        ("underscore: 5", None),
        ("", None),
        (None, None),
    ],
)
def test_marks_are_read(text: str | None, expected: float | None) -> None:
    assert read_score(text, 10) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A is short.\nVerdict: A", Verdict.FIRST),
        ("**Verdict:** B", Verdict.SECOND),
        ("Verdict: [[B]]", Verdict.SECOND),
        ("Verdict: Answer B", Verdict.SECOND),
        ("verdict: tie.", Verdict.TIE),
        ("两者都好。\n结论：平局", Verdict.TIE),
        ("结论：A", Verdict.FIRST),
        ("结论：回答 B", Verdict.SECOND),
        ("Verdict: A? No. Verdict: B", Verdict.SECOND),
        ("<think>\nVerdict: A? Let me", None),
        ("Verdict: answer_a", Verdict.FIRST),
        ("Verdict: both are bad", None),
        ("Verdict: about equal", None),
        ("A", None),
        (None, None),
    ],
)
def test_verdicts_are_read(text: str | None, expected: Verdict | None) -> None:
    assert read_verdict(text) == expected


@given(st.text(max_size=200))
def test_no_text_breaks_the_reading(text: str) -> None:
    assert read_verdict(text) in (*Verdict, None)
    value = read_score(text, 10)
    assert value is None or 1 <= value <= 10


def test_a_swapped_verdict_swapped_is_itself() -> None:
    assert [verdict.swapped.swapped for verdict in Verdict] == list(Verdict)
    assert Verdict.FIRST.swapped is Verdict.SECOND
    assert Verdict.TIE.swapped is Verdict.TIE


@pytest.mark.parametrize("language", ["en", "zh"])
def test_questions_hold_everything(language: str) -> None:
    single = single_question("{task}", "{answer}", "known", criteria="short", highest=5, language=language)
    assert all(part in single for part in ("{task}", "{answer}", "known", "short", "5"))
    assert "good_answer" not in single_question("t", "a", None, criteria=None, highest=5, language=language)
    pair = pair_question("the task", "<one>", "<two>", criteria=None, language=language)
    assert pair.index("the task") < pair.index("<one>") < pair.index("<two>")
    assert read_verdict(pair) is not None  # what is shown as the form can be read


def test_the_judge_is_asked_in_the_language_of_the_task() -> None:
    assert [language_of(code) for code in ("zh", "zh-Hans", "en", "de", None)] == ["zh", "zh", "en", "en", "en"]
