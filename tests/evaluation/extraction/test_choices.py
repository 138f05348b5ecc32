"""The letter of a choice, and no letter where it is not clear which."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos.evaluation.extraction.choices import choice_letter


@pytest.mark.parametrize(
    ("output", "letter"),
    [
        ("The answer is (B)", "B"),
        ("The answer is B.", "B"),
        ("the answer is: **B**", "B"),
        ("The correct option is $\\textbf{(C)}$", "C"),
        ("Answer: D", "D"),
        ("**Answer:** C", "C"),
        ("Answer:\nC", "C"),
        ("answer: d", "D"),
        ("I choose option B", "B"),
        ("\\boxed{\\text{(B)}}", "B"),
        ("答案是B", "B"),
        ("答案：Ｂ", "B"),
        ("答案为（C）", "C"),
        ("正确答案是：D", "D"),
        ("综上所述，故选：D。", "D"),
        ("不选A，选C", "C"),
        ("选项C正确", "C"),
        ("（B）", "B"),
        ("B.", "B"),
        ("B. because of this", "B"),
        ("B、因为", "B"),
        ("B因为", "B"),
        ("B because", "B"),
        ("b", "B"),
        ("(c)", "C"),
        ("Let me think.\nIt is hard.\nB", "B"),
        ("I think it is B because", "B"),
        ("Option B is correct", "B"),
        ("The answer is not A. The answer is C", "C"),
        ("Answer: A. Wait, no. Therefore, the answer is B.", "B"),
        ("", None),
        ("no idea", None),
        ("A dog is nice", None),
        ("the answer is a matter of taste", None),
        ("The answer is E", None),
        ("The answer is E. The others were A", None),
        ("The answer is A and B", None),
        ("The answer is A. The answer is B.", None),
        ("答案是A和B", None),
        ("答案是AB", None),
        ("AB", None),
        ("A or B", None),
        ("A. cat\nB. dog", None),
        ("It may be B, it may be C", None),
    ],
)
def test_letters(output: str, letter: str | None) -> None:
    assert choice_letter(output) == letter


def test_other_letters() -> None:
    assert choice_letter("The answer is E", "ABCDE") == "E"
    assert choice_letter("The answer is C", "AB") is None


FRAMES = [
    "{}",
    "({})",
    "{}.",
    "The answer is {}",
    "The answer is ({}).",
    "答案是{}",
    "答案：{}。",
    "**{}**",
    "故选{}",
    "\\boxed{{{}}}",
]


@given(st.sampled_from("ABCD"), st.sampled_from(FRAMES))
def test_usual_ways_to_answer(letter: str, frame: str) -> None:
    assert choice_letter(frame.format(letter)) == letter
