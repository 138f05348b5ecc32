"""Stems by the Snowball algorithms (Porter, 1980 and 2001), as NLTK implements them."""

from __future__ import annotations

from functools import cache, partial
from typing import Any, Literal

from pydantic import Field

from llmasos.data.cleaning.counting import counted
from llmasos.data.linguistics.languages import NLTK_NAMES, require_language
from llmasos.data.linguistics.sentences import Segmenter
from llmasos.data.linguistics.words import segment_words
from llmasos.data.step import Counts, Transform, TransformConfig


@cache
def _stemmer(language: str) -> Any:
    from nltk.stem.snowball import SnowballStemmer

    known = [code for code, name in NLTK_NAMES.items() if name in SnowballStemmer.languages]
    require_language(language, known, "Snowball")
    return SnowballStemmer(NLTK_NAMES[language])


def stem(word: str, language: str = "en") -> str:
    """The stem of a word, in lower case.

    Raises:
        Unsupported: Snowball has no stemmer for the language; Chinese has no stems.
    """
    return str(_stemmer(language).stem(word))


class StemWords(TransformConfig):
    """Replace words by their stems: `running` becomes `run`. For classic pipelines and statistics."""

    step: Literal["stem_words"] = "stem_words"
    language: str = Field("en", description="ISO 639-1 code of a language that Snowball has a stemmer for.")
    segmenter: Segmenter = Field("auto", description="What finds the sentences; see segment_sentences.")

    def build(self) -> Transform:
        return partial(_stem, language=self.language, segmenter=self.segmenter)


def _stem(text: str, language: str, segmenter: Segmenter) -> tuple[str, Counts]:
    words = segment_words(text, language, segmenter)
    stems = [stem(word, language) for word in words]
    changed = sum(after != before for after, before in zip(stems, words, strict=True))
    return " ".join(stems), counted(words=len(words), words_changed=changed)
