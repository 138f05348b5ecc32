"""Instructions about case, punctuation, beginning and end, language, and several answers in one."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from llmasos.data.linguistics.languages import is_chinese
from llmasos.evaluation.instructions.base import Instruction, Relation, compare
from llmasos.evaluation.instructions.counting import detect_language, spaced

_QUOTES = {'"': '"'}
_CHINESE_QUOTES = {"“": "”", "「": "」", "『": "』", "＂": "＂", '"': '"'}
_DIVIDER = "******"


class NoComma(Instruction):
    """There is no comma; the Chinese comma ``，`` is one, the enumeration mark ``、`` is not."""

    name: ClassVar[str] = "punctuation:no_comma"

    def followed(self, answer: str, prompt: str) -> bool:
        return not any(mark in answer for mark in ",，﹐")


class EnglishCapitals(Instruction):
    """English, and all of its letters are capitals."""

    name: ClassVar[str] = "change_case:english_capital"

    def followed(self, answer: str, prompt: str) -> bool:
        return answer.isupper() and detect_language(answer) == "en"


class EnglishLowercase(Instruction):
    """English, and none of its letters is a capital."""

    name: ClassVar[str] = "change_case:english_lowercase"

    def followed(self, answer: str, prompt: str) -> bool:
        return answer.islower() and detect_language(answer) == "en"


class CapitalWords(Instruction):
    """At least, or less than, so many words all of whose letters are capitals; words end at Chinese characters."""

    name: ClassVar[str] = "change_case:capital_word_frequency"
    capital_frequency: int = Field(ge=0, description="How many words.")
    capital_relation: Relation = Field(description="How the count is compared.")

    def followed(self, answer: str, prompt: str) -> bool:
        from nltk.tokenize.destructive import NLTKWordTokenizer

        words = NLTKWordTokenizer().tokenize(spaced(answer))
        return compare(sum(map(str.isupper, words)), self.capital_relation, self.capital_frequency)


class ResponseLanguage(Instruction):
    """The answer is in a language, as py3langid tells. Without any letter it is in none."""

    name: ClassVar[str] = "language:response_language"
    language: str = Field(pattern=r"^[a-z]{2}(?:-[A-Za-z]+)?$", description="ISO 639-1 code, such as de or zh.")

    def followed(self, answer: str, prompt: str) -> bool:
        return detect_language(answer) == self.language.partition("-")[0]


class Quotation(Instruction):
    """All of the answer stands in double quotation marks; in Chinese also in ``“”``, ``「」``, ``『』``."""

    name: ClassVar[str] = "startend:quotation"

    def followed(self, answer: str, prompt: str) -> bool:
        text = answer.strip()
        quotes = _CHINESE_QUOTES if is_chinese(text) else _QUOTES
        return len(text) > 1 and quotes.get(text[0]) == text[-1]


class EndPhrase(Instruction):
    """The answer ends with a phrase, in any case; quotation marks behind it do not count."""

    name: ClassVar[str] = "startend:end_checker"
    end_phrase: str = Field(min_length=1, description="The phrase.")

    def followed(self, answer: str, prompt: str) -> bool:
        return answer.strip().strip('"“”「」『』').casefold().endswith(self.end_phrase.strip().casefold())


class RepeatPrompt(Instruction):
    """The answer begins with the request, word for word, in any case."""

    name: ClassVar[str] = "combination:repeat_prompt"
    prompt_to_repeat: str | None = Field(None, description="What is to be repeated; default: the prompt.")

    def followed(self, answer: str, prompt: str) -> bool:
        wanted = self.prompt_to_repeat if self.prompt_to_repeat is not None else prompt
        return answer.strip().casefold().startswith(wanted.strip().casefold())


class TwoResponses(Instruction):
    """Two different answers with ``******`` between them."""

    name: ClassVar[str] = "combination:two_responses"

    def followed(self, answer: str, prompt: str) -> bool:
        pieces = [piece.strip() for piece in answer.split(_DIVIDER)]
        inner = pieces[1 if not pieces[0] else 0 : len(pieces) - (0 if pieces[-1] else 1)]
        return all(inner) and len(inner) == 2 and inner[0] != inner[1]
