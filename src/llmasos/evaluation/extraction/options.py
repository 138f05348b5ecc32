"""How the answer is read in an output: the tagged union that stands under ``extraction`` in a task."""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Regex(_Options):
    """What a regular expression finds."""

    kind: Literal["regex"] = "regex"
    pattern: str = Field(min_length=1, description="Regular expression of Python; ^ and $ stand for ends of lines.")
    group: int | str | None = Field(
        None, description="Number or name of the group that is the answer; default: the first, or all if there is none."
    )
    take: Literal["first", "last"] = Field("first", description="Which of several matches counts.")
    ignore_case: bool = Field(False, description="Whether capital and small letters are the same.")

    @model_validator(mode="after")
    def _compiles(self) -> Regex:
        try:
            compiled = re.compile(self.pattern, re.MULTILINE)
        except re.error as error:
            raise ValueError(f"pattern is no regular expression: {error}") from error
        if isinstance(self.group, str) and self.group not in compiled.groupindex:
            named = ", ".join(compiled.groupindex) or "none"
            raise ValueError(f"pattern has no group {self.group!r}; its named groups: {named}")
        if isinstance(self.group, int) and not 0 <= self.group <= compiled.groups:
            raise ValueError(f"pattern has no group {self.group}; it has {compiled.groups}, and 0 is the whole match")
        return self


class LastNumber(_Options):
    """The last number, as plain digits: without separators, currency and per cent signs."""

    kind: Literal["last_number"] = "last_number"
    after: tuple[str, ...] = Field(
        (),
        description="Texts that stand before the answer, such as `####`. Behind the last of the first one that occurs, "
        "the first number counts; where none occurs, the last number of all.",
    )
    chinese: bool = Field(True, description="Read Chinese numerals such as 三百二十一 where there are no digits.")

    @field_validator("after", mode="before")
    @classmethod
    def _one_or_several(cls, given: object) -> object:
        return (given,) if isinstance(given, str) else given


class Boxed(_Options):
    r"""What the last \boxed{...} holds."""

    kind: Literal["boxed"] = "boxed"


class ChoiceLetter(_Options):
    """The letter of a choice: `The answer is (B)`, `答案是B`, `B.`; none if several stand side by side."""

    kind: Literal["choice_letter"] = "choice_letter"
    letters: str = Field("ABCD", description="The letters that there are to choose from.")

    @field_validator("letters")
    @classmethod
    def _distinct_capitals(cls, letters: str) -> str:
        if not re.fullmatch(r"[A-Z]{2,26}", letters) or len(set(letters)) < len(letters):
            raise ValueError("letters must be two or more different capitals, such as ABCD")
        return letters


class CodeBlock(_Options):
    """Program text: the code between fences, else a completion of the code in the prompt."""

    kind: Literal["code_block"] = "code_block"
    take: Literal["first", "last"] = Field("first", description="Which of several blocks counts.")
    unfenced: Literal["completion", "whole", "none"] = Field(
        "completion",
        description="Without fences: the text up to the first statement that does not belong to it, all of the text, "
        "or no answer.",
    )


class FirstLine(_Options):
    """The first line that is not empty."""

    kind: Literal["first_line"] = "first_line"


class Json(_Options):
    """A value in the first JSON document that has it."""

    kind: Literal["json"] = "json"
    path: str = Field(
        "", description="Keys and places that lead to the value, such as `result.answers[0]`; empty: the document."
    )

    @field_validator("path")
    @classmethod
    def _well_formed(cls, path: str) -> str:
        if path and not re.fullmatch(r"(?:[^.\[\]]+|\[-?\d+\])(?:\.[^.\[\]]+|\[-?\d+\])*", path):
            raise ValueError("path must be keys with points between them and places in brackets, such as a.b[0]")
        return path


class Whole(_Options):
    """All of the output, without white space around it."""

    kind: Literal["whole"] = "whole"


Extraction: TypeAlias = Annotated[
    Regex | LastNumber | Boxed | ChoiceLetter | CodeBlock | FirstLine | Json | Whole, Field(discriminator="kind")
]
