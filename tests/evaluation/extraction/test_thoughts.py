from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos.evaluation.extraction.thoughts import without_thoughts


@pytest.mark.parametrize(
    ("output", "opened", "answer"),
    [
        ("<think>\n2 and 2?\n</think>\n\n4", False, "4"),
        ("  <think></think>    return 1\n", False, "    return 1\n"),
        ("<think>It could be 3, or", False, ""),
        ("It could be 3, or", True, ""),
        ("It could be 3.</think>\n4", True, "4"),
        ("It could be 3.</think>\n4", False, "4"),  # the opening tag stood in the prompt
        ("4", False, "4"),
        ("\n 4 ", False, "\n 4 "),
        ("The tag <think> opens and </think> closes.", False, "The tag <think> opens and </think> closes."),
        ("", False, ""),
    ],
)
def test_thoughts_are_no_part_of_the_answer(output: str, opened: bool, answer: str) -> None:
    assert without_thoughts(output, opened=opened) == answer


@given(st.text())
def test_an_output_without_tags_stays_as_it_is(output: str) -> None:
    assert without_thoughts(output) == output or "think>" in output
