"""Texts as metrics compare them: normal forms and tokens, in English and Chinese."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Literal

# Ideographs, Japanese kana and the marks that go with them: written without spaces, so each is a token.
_UNSPACED = "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_UNSPACED_CHAR = re.compile(f"[{_UNSPACED}]")
_UNSPACED_RUN = re.compile(f"[{_UNSPACED}]+")
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_ENGLISH_TOKEN = re.compile(f"[a-z0-9]+|[{_UNSPACED}]")
_ANY_TOKEN = re.compile(f"[^\\W_{_UNSPACED}]+|[{_UNSPACED}]")
_ANY_WORD = re.compile(f"[^\\W_{_UNSPACED}]+|[{_UNSPACED}]+")
_ASCII_PUNCTUATION = frozenset(string.punctuation)

Words = Literal["characters", "words"]


def normalize_answer(text: str, language: str | None = None) -> str:
    """An answer without what does not matter, after the evaluation of SQuAD (Rajpurkar et al. 2016).

    Full-width forms become half-width (NFKC); lower case; punctuation of any script is taken out; English articles are
    taken out unless ``language`` is another one; white space is collapsed, and taken out beside Chinese characters.
    """
    folded = unicodedata.normalize("NFKC", text).lower()
    kept = "".join(char for char in folded if not _is_punctuation(char))
    if language is None or language.startswith("en"):
        kept = _ARTICLE.sub(" ", kept)
    collapsed = " ".join(kept.split())
    return re.sub(f"(?<=[{_UNSPACED}]) | (?=[{_UNSPACED}])", "", collapsed)


def _is_punctuation(char: str) -> bool:
    return char in _ASCII_PUNCTUATION or unicodedata.category(char).startswith("P")


def answer_tokens(text: str, language: str | None = None) -> list[str]:
    """Tokens of a normalised answer: words, and single Chinese characters."""
    return _UNSPACED_CHAR.sub(lambda match: f" {match[0]} ", normalize_answer(text, language)).split()


def overlap_tokens(text: str, language: str | None, unit: Words, *, stem: bool = False) -> list[str]:
    """Tokens for ROUGE and counts of n-grams.

    For English, those of the package rouge-score: runs of the letters a to z and digits in lower case. For other
    languages, runs of the letters and digits of any script. In every language, Chinese characters and kana are tokens
    one by one, or the words that jieba finds in a run of them.

    Args:
        unit: what Chinese is cut into.
        stem: apply Porter's stemmer to English words of more than three letters.
    """
    lowered = text.lower()
    if unit == "characters":
        pattern = _ENGLISH_TOKEN if _is_english(language) else _ANY_TOKEN
        tokens = pattern.findall(lowered)
    else:
        tokens = [token for run in _ANY_WORD.findall(lowered) for token in _cut(run, language)]
    if not stem:
        return tokens
    stemmer = _porter()
    return [stemmer(token) if len(token) > 3 and token.isascii() else token for token in tokens]


def _is_english(language: str | None) -> bool:
    return language is not None and language.startswith("en")


def _cut(run: str, language: str | None) -> list[str]:
    if _UNSPACED_RUN.fullmatch(run):
        from llmasos.data.linguistics.words import jieba_module

        return [str(word) for word in jieba_module().lcut(run)]
    return re.findall(r"[a-z0-9]+", run) if _is_english(language) else [run]


@cache
def _porter() -> Callable[[str], str]:
    from nltk.stem.porter import PorterStemmer

    return cache(PorterStemmer().stem)
