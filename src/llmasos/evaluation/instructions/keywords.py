"""Instructions about words and letters that must or must not be there."""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field

from llmasos.data.linguistics.languages import is_ideograph
from llmasos.evaluation.instructions.base import Instruction, Relation, compare


class KeywordsExist(Instruction):
    """All the words occur, alone or inside others, in any case."""

    name: ClassVar[str] = "keywords:existence"
    keywords: list[str] = Field(min_length=1, description="The words.")

    def followed(self, answer: str, prompt: str) -> bool:
        folded = answer.casefold()
        return all(keyword.casefold() in folded for keyword in self.keywords)


class KeywordFrequency(Instruction):
    """A word occurs at least, or less than, so many times, alone or inside others, in any case."""

    name: ClassVar[str] = "keywords:frequency"
    keyword: str = Field(min_length=1, description="The word.")
    frequency: int = Field(ge=0, description="How many times.")
    relation: Relation = Field(description="How the count is compared.")

    def followed(self, answer: str, prompt: str) -> bool:
        count = answer.casefold().count(self.keyword.casefold())
        return compare(count, self.relation, self.frequency)


class ForbiddenWords(Instruction):
    """None of the words occurs. Words with ideographs must not occur at all, others not as words of their own."""

    name: ClassVar[str] = "keywords:forbidden_words"
    forbidden_words: list[str] = Field(min_length=1, description="The words.")

    def followed(self, answer: str, prompt: str) -> bool:
        return not any(_occurs(word, answer) for word in self.forbidden_words)


def _occurs(word: str, answer: str) -> bool:
    if any(map(is_ideograph, word)):
        return word.casefold() in answer.casefold()
    # no ASCII letter or digit beside it: in 用AI做, AI is a word
    return (
        re.search(rf"(?<![^\W\u3400-\u9fff]){re.escape(word)}(?![^\W\u3400-\u9fff])", answer, re.IGNORECASE) is not None
    )


class LetterFrequency(Instruction):
    """A letter, mark or Chinese character occurs at least, or less than, so many times, in any case."""

    name: ClassVar[str] = "keywords:letter_frequency"
    letter: str = Field(min_length=1, max_length=1, description="The letter.")
    let_frequency: int = Field(ge=0, description="How many times.")
    let_relation: Relation = Field(description="How the count is compared.")

    def followed(self, answer: str, prompt: str) -> bool:
        return compare(answer.lower().count(self.letter.lower()), self.let_relation, self.let_frequency)
