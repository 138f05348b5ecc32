"""Instructions about Chinese text. They are not part of IFEval."""

from __future__ import annotations

import re
from typing import ClassVar

from llmasos.data.linguistics.languages import is_ideograph
from llmasos.evaluation.instructions.base import Instruction

_IDEOGRAPH = "[\u3400-\u4dbf\u4e00-\u9fff]"
_HALF_WIDTH = re.compile(rf"{_IDEOGRAPH}[,.:;?!()]|[,:;?!()]{_IDEOGRAPH}")
_LATIN = re.compile(r"[A-Za-zＡ-Ｚａ-ｚ]")


def _in(char: str, encoding: str) -> bool:
    try:
        char.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


class Simplified(Instruction):
    """There are Chinese characters, and none that only traditional writing has (in Big5 and not in GB 2312)."""

    name: ClassVar[str] = "chinese:simplified"

    def followed(self, answer: str, prompt: str) -> bool:
        characters = set(filter(is_ideograph, answer))
        return bool(characters) and all(_in(char, "gb2312") or not _in(char, "big5") for char in characters)


class Traditional(Instruction):
    """There are Chinese characters, and none that only simplified writing has (in GB 2312 and not in Big5)."""

    name: ClassVar[str] = "chinese:traditional"

    def followed(self, answer: str, prompt: str) -> bool:
        characters = set(filter(is_ideograph, answer))
        return bool(characters) and all(_in(char, "big5") or not _in(char, "gb2312") for char in characters)


class NoLatinLetters(Instruction):
    """There is no Latin letter."""

    name: ClassVar[str] = "chinese:no_latin_letters"

    def followed(self, answer: str, prompt: str) -> bool:
        return _LATIN.search(answer) is None


class FullWidthPunctuation(Instruction):
    """No punctuation mark of half width stands beside a Chinese character, and there is one of full width."""

    name: ClassVar[str] = "chinese:full_width_punctuation"

    def followed(self, answer: str, prompt: str) -> bool:
        return _HALF_WIDTH.search(answer) is None and re.search("[，。：；？！（）、]", answer) is not None
