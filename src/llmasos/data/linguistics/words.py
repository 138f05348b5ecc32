"""Words: the Treebank rules of NLTK for languages with spaces, jieba for Chinese."""

from __future__ import annotations

import logging
from functools import cache, partial
from typing import Any, Literal

from pydantic import Field

from llmasos.data.linguistics.languages import resolve_language
from llmasos.data.linguistics.sentences import Segmenter, sentence_spans
from llmasos.data.step import NO_COUNTS, Counts, Transform, TransformConfig
from llmasos.errors import Unsupported
from llmasos.i18n import t

_UNSPACED = {"ja": "Japanese", "th": "Thai", "lo": "Lao", "km": "Khmer", "my": "Burmese"}


def segment_words(text: str, language: str = "auto", segmenter: Segmenter = "auto") -> list[str]:
    """The words of a text, punctuation marks being words too.

    Like ``nltk.word_tokenize`` (sentences, then the Treebank rules), and ``jieba.lcut`` without white space.

    Raises:
        Unsupported: the language is written without spaces and is not Chinese.
    """
    code = resolve_language(language, text)
    if code == "zh":
        return [word for word in jieba_module().lcut(text) if not word.isspace()]
    if code in _UNSPACED:
        raise Unsupported(
            t("words of {language!r} cannot be found: it is written without spaces", language=code),
            hint=t("Chinese (zh) and languages with spaces can be segmented."),
        )
    tokenizer = _treebank()
    return [
        str(word)
        for start, end in sentence_spans(text, code, segmenter)
        for word in tokenizer.tokenize(text[start:end])
    ]


@cache
def jieba_module() -> Any:
    """jieba with its dictionary loaded, its messages off."""
    import jieba

    jieba.setLogLevel(logging.WARNING)
    jieba.initialize()
    return jieba


@cache
def _treebank() -> Any:
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return NLTKWordTokenizer()


class SegmentWords(TransformConfig):
    """Put a space between words, and between words and punctuation."""

    step: Literal["segment_words"] = "segment_words"
    language: str = Field("auto", description="ISO 639-1 code; auto: Chinese by its characters, else English.")
    segmenter: Segmenter = Field("auto", description="What finds the sentences; see segment_sentences.")

    def build(self) -> Transform:
        return partial(_segment, language=self.language, segmenter=self.segmenter)


def _segment(text: str, language: str, segmenter: Segmenter) -> tuple[str, Counts]:
    words = segment_words(text, language, segmenter)
    return " ".join(words), ({"words": len(words)} if words else NO_COUNTS)
