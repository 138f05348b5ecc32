"""Words, sentences and languages of answers, counted the same on every machine."""

from __future__ import annotations

import re

from llmasos.data.filters.language import identify_language
from llmasos.data.linguistics.languages import is_chinese, is_ideograph
from llmasos.data.linguistics.sentences import sentence_spans

_WORD = re.compile(r"\w+")
_CHINESE_SENTENCE = re.compile(r"[。！？!?…]+|\.{3,}|\.(?=\s|$)|\n+")


def spaced(text: str) -> str:
    """The text with spaces around every ideograph, so that each is a word and words beside them stand alone."""
    return "".join(f" {char} " if is_ideograph(char) else char for char in text)


def count_words(text: str) -> int:
    """Runs of letters and digits; every ideograph counts as one, which is how length is told in Chinese (字数)."""
    return len(_WORD.findall(spaced(text)))


def count_sentences(text: str) -> int:
    """Sentences: by pySBD, which needs no data; of Chinese text by 。！？… and ends of lines (not by ；)."""
    if is_chinese(text):
        return sum(any(map(str.isalnum, piece)) for piece in _CHINESE_SENTENCE.split(text))
    return len(sentence_spans(text, "en", "pysbd"))


def detect_language(text: str) -> str | None:
    """ISO 639-1 code of the language that py3langid finds in a text; ``None`` without letters.

    Capitals are made small before, since they mislead it.
    """
    if not any(map(str.isalpha, text)):
        return None
    return identify_language(text.lower())[0]
