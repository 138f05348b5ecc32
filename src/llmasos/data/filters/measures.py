"""What filters measure of a text. Written so that Chinese, which has no spaces between words, is measured rightly."""

from __future__ import annotations

import re

from llmasos.data.linguistics.languages import is_chinese
from llmasos.data.step import Rejection

_TOKEN = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]|[^\W_]+(?:['’\-][^\W_]+)*"
)
_WORD = re.compile(r"\S+")
_CHARACTERS_PER_WORD = 1.5
"""Chinese words have one to two characters; the mean of running text is near 1.5."""


def units(text: str) -> list[str]:
    """Words without punctuation; Chinese and Japanese character by character."""
    return _TOKEN.findall(text)


def word_count(text: str) -> int:
    """Number of words; characters of Chinese and Japanese count as two thirds of a word each."""
    found = units(text)
    single = sum(len(unit) == 1 and ord(unit) >= 0x3040 and not unit.isdigit() for unit in found)
    return len(found) - single + round(single / _CHARACTERS_PER_WORD)


def spaced_words(text: str) -> list[str]:
    """What stands between white space, punctuation included."""
    return _WORD.findall(text)


def is_spaced(text: str) -> bool:
    """Whether rules about the length of words make sense."""
    return not is_chinese(text)


def too_small(reason: str, what: str, value: float, least: float) -> Rejection:
    """A rejection that shows the value and the limit."""
    return Rejection(reason, f"{what} {value:.4g}, at least {least:g}")


def too_large(reason: str, what: str, value: float, most: float) -> Rejection:
    return Rejection(reason, f"{what} {value:.4g}, at most {most:g}")
