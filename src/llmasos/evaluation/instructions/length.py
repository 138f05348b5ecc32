"""Instructions about lengths: words, characters, sentences, paragraphs."""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field

from llmasos.data.linguistics.languages import is_ideograph
from llmasos.evaluation.instructions.base import Instruction, Relation, compare
from llmasos.evaluation.instructions.counting import count_sentences, count_words

_DIVIDER = re.compile(r"\s?\*\*\*\s?")
_OPENING_QUOTES = "'\"“‘「『《"
_WORD_END = re.compile(r"[.,?!'\"”’。，？！、：:；;\s]")


class NumberWords(Instruction):
    """At least, or less than, so many words; of Chinese text characters (字), each counting as a word."""

    name: ClassVar[str] = "length_constraints:number_words"
    num_words: int = Field(ge=0, description="How many words.")
    relation: Relation = Field(description="How the count is compared.")

    def followed(self, answer: str, prompt: str) -> bool:
        return compare(count_words(answer), self.relation, self.num_words)


class NumberCharacters(Instruction):
    """At least, or less than, so many characters, white space not counted. Not part of IFEval."""

    name: ClassVar[str] = "length_constraints:number_characters"
    num_characters: int = Field(ge=0, description="How many characters.")
    relation: Relation = Field(description="How the count is compared.")

    def followed(self, answer: str, prompt: str) -> bool:
        return compare(len("".join(answer.split())), self.relation, self.num_characters)


class NumberSentences(Instruction):
    """At least, or less than, so many sentences."""

    name: ClassVar[str] = "length_constraints:number_sentences"
    num_sentences: int = Field(ge=0, description="How many sentences.")
    relation: Relation = Field(description="How the count is compared.")

    def followed(self, answer: str, prompt: str) -> bool:
        return compare(count_sentences(answer), self.relation, self.num_sentences)


class NumberParagraphs(Instruction):
    """Exactly so many paragraphs, with ``***`` between them and none of them empty."""

    name: ClassVar[str] = "length_constraints:number_paragraphs"
    num_paragraphs: int = Field(ge=1, description="How many paragraphs.")

    def followed(self, answer: str, prompt: str) -> bool:
        paragraphs = [paragraph.strip() for paragraph in _DIVIDER.split(answer)]
        if len(paragraphs) > 1 and not paragraphs[0]:
            paragraphs = paragraphs[1:]
        if len(paragraphs) > 1 and not paragraphs[-1]:
            paragraphs = paragraphs[:-1]
        return all(paragraphs) and len(paragraphs) == self.num_paragraphs


class FirstWordOfParagraph(Instruction):
    """Exactly so many paragraphs, with empty lines between them, one of which begins with a given word."""

    name: ClassVar[str] = "length_constraints:nth_paragraph_first_word"
    num_paragraphs: int = Field(ge=1, description="How many paragraphs.")
    nth_paragraph: int = Field(ge=1, description="Number of the paragraph, from 1.")
    first_word: str = Field(min_length=1, description="The word, in any case.")

    def followed(self, answer: str, prompt: str) -> bool:
        paragraphs = [paragraph.strip() for paragraph in answer.split("\n\n") if paragraph.strip()]
        if len(paragraphs) != self.num_paragraphs or self.nth_paragraph > len(paragraphs):
            return False
        start = paragraphs[self.nth_paragraph - 1].lstrip(_OPENING_QUOTES).casefold()
        wanted = self.first_word.casefold()
        if is_ideograph(wanted[-1]):  # nothing marks where a Chinese word ends
            return start.startswith(wanted)
        return _WORD_END.split(start, maxsplit=1)[0] == wanted
