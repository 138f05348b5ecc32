"""Hand-made answers that follow every instruction and that do not, in English and Chinese."""

from __future__ import annotations

from typing import Any

import pytest

from instruction_cases import CASES, ENGLISH_ONLY
from llmasos.evaluation.instructions.check import check, names

ROWS = [
    (name, arguments, answer, followed)
    for name, groups in CASES.items()
    for arguments, passing, failing in groups
    for answers, followed in ((passing, True), (failing, False))
    for answer in answers
]


@pytest.mark.parametrize(("name", "arguments", "answer", "followed"), ROWS)
def test_answers(name: str, arguments: dict[str, Any], answer: str, followed: bool) -> None:
    assert check(name, arguments, "写一篇关于猫的短文。 Write about cats.", answer) is followed


def is_chinese(text: str) -> bool:
    return any("\u4e00" <= char <= "\u9fff" for char in text)


def test_every_instruction_has_answers_of_both_kinds_in_both_languages() -> None:
    assert set(CASES) == set(names())
    for name in names():
        for chinese in (False, True):
            for followed in (False, True):
                count = sum(
                    row[0] == name and row[3] is followed and is_chinese(row[2] + str(row[1])) is chinese
                    for row in ROWS
                )
                if chinese and followed and name in ENGLISH_ONLY:
                    continue
                if not chinese and followed and name.startswith("chinese:") and name != "chinese:no_latin_letters":
                    continue
                assert count >= 2, (name, "Chinese" if chinese else "English", followed)


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.parametrize("answer", ["", " ", "\n\n"])
def test_an_empty_answer_follows_nothing(name: str, answer: str) -> None:
    assert check(name, CASES[name][0][0], "prompt", answer) is False
