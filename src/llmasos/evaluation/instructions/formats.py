"""Instructions about form: lists, headings, sections, JSON, placeholders, postscripts."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import ClassVar

from pydantic import Field

from llmasos.data.linguistics.languages import is_chinese, is_ideograph
from llmasos.evaluation.instructions.base import Instruction

_BULLET = re.compile(r"^\s*(?:\*[^*\n]|-)", re.MULTILINE)
_CHINESE_BULLET = re.compile(r"^\s*(?:\*[^*\n]|[-－•·●＊])", re.MULTILINE)
_HIGHLIGHT = re.compile(r"\*([^\n*]*)\*")
_STRONG = re.compile(r"\*\*([^\n*]*)\*\*")
_TITLE = re.compile(r"<<([^\n]+)>>|《《([^\n]+)》》")
_PLACEHOLDER = re.compile(r"\[.*?\]|【.*?】|［.*?］")
_CONSTRAINED = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_CONSTRAINED_CHINESE = re.compile(
    r"我的(?:答案|回答)是[：:]?[“\"「]?(?:是的?|不?是的?|否|不|肯定的?|否定的?|也许|可能|不确定的?)[”\"」]?[。.]"
)
_CHINESE_NUMBER = r"[\d一二三四五六七八九十百]+"
_FENCE = re.compile(r"\A\s*```(?:json)?\s*(.*?)\s*(?:```)?\s*\Z", re.DOTALL | re.IGNORECASE)


class BulletLists(Instruction):
    """Exactly so many lines that begin with ``*`` or ``-``; in Chinese text also with ``•``, ``·``, ``●``, ``－``."""

    name: ClassVar[str] = "detectable_format:number_bullet_lists"
    num_bullets: int = Field(ge=0, description="How many points.")

    def followed(self, answer: str, prompt: str) -> bool:
        pattern = _CHINESE_BULLET if is_chinese(answer) else _BULLET
        return len(pattern.findall(answer)) == self.num_bullets


class HighlightedSections(Instruction):
    """At least so many ``*highlighted*`` or ``**highlighted**`` pieces, none of them empty."""

    name: ClassVar[str] = "detectable_format:number_highlighted_sections"
    num_highlights: int = Field(ge=0, description="How many pieces.")

    def followed(self, answer: str, prompt: str) -> bool:
        pieces = [*_HIGHLIGHT.findall(answer), *_STRONG.findall(answer)]
        return sum(bool(piece.strip()) for piece in pieces) >= self.num_highlights


class Sections(Instruction):
    """At least so many sections, each marked by a word and a number; in Chinese also ``第一节``, ``第2部分``."""

    name: ClassVar[str] = "detectable_format:multiple_sections"
    section_spliter: str = Field(min_length=1, description="The word, such as Section.")  # spelt as in the data
    num_sections: int = Field(ge=0, description="How many sections.")

    def followed(self, answer: str, prompt: str) -> bool:
        word = re.escape(self.section_spliter.strip())
        pattern = rf"{word}\s?\d+"
        if any(map(is_ideograph, word)):
            pattern = rf"第\s?{_CHINESE_NUMBER}\s?{word}|{word}\s?{_CHINESE_NUMBER}"
        return len(re.findall(pattern, answer)) >= self.num_sections


class JsonFormat(Instruction):
    """The answer is one JSON document, in a fence or not."""

    name: ClassVar[str] = "detectable_format:json_format"

    def followed(self, answer: str, prompt: str) -> bool:
        fenced = _FENCE.match(answer)
        try:
            json.loads(fenced[1] if fenced else answer)
        except (ValueError, RecursionError):
            return False
        return True


class Title(Instruction):
    """There is a title in ``<<double angular brackets>>``; in Chinese also in ``《《》》``."""

    name: ClassVar[str] = "detectable_format:title"

    def followed(self, answer: str, prompt: str) -> bool:
        return any((one or other).strip("<> 《》") for one, other in _TITLE.findall(answer))


class ConstrainedResponse(Instruction):
    """One of ``My answer is yes.``, ``no.``, ``maybe.`` occurs; in Chinese ``我的答案是是。`` and the like."""

    name: ClassVar[str] = "detectable_format:constrained_response"

    def followed(self, answer: str, prompt: str) -> bool:
        return any(text in answer for text in _CONSTRAINED) or _CONSTRAINED_CHINESE.search(answer) is not None


class Placeholders(Instruction):
    """At least so many placeholders in ``[square brackets]``; also in ``【】``."""

    name: ClassVar[str] = "detectable_content:number_placeholders"
    num_placeholders: int = Field(ge=0, description="How many placeholders.")

    def followed(self, answer: str, prompt: str) -> bool:
        return len(_PLACEHOLDER.findall(answer)) >= self.num_placeholders


class Postscript(Instruction):
    """There is a postscript behind a marker such as ``P.S.``, ``P.P.S`` or ``附言``."""

    name: ClassVar[str] = "detectable_content:postscript"
    postscript_marker: str = Field(min_length=1, description="The marker, in any case.")

    def followed(self, answer: str, prompt: str) -> bool:
        marker = unicodedata.normalize("NFKC", self.postscript_marker).casefold()
        special = {"p.s.": r"p\.\s?s\.", "p.p.s": r"p\.\s?p\.\s?s"}
        pattern = special.get(marker, re.escape(marker))
        return re.search(pattern, unicodedata.normalize("NFKC", answer).casefold()) is not None
