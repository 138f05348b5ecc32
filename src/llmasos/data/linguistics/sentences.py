"""Sentences: Punkt of NLTK where its data are on this machine, else pySBD, which needs none; rules for Chinese."""

from __future__ import annotations

import logging
import re
from functools import cache, partial
from typing import Any, Literal

from pydantic import Field

from llmasos.data.linguistics.languages import NLTK_NAMES, require_language, resolve_language
from llmasos.data.step import NO_COUNTS, Counts, Transform, TransformConfig
from llmasos.errors import NotFound
from llmasos.i18n import t

logger = logging.getLogger(__name__)

Segmenter = Literal["auto", "punkt", "pysbd", "rules"]

Span = tuple[int, int]

_CHINESE_END = re.compile(
    r"(?:[。！？!?；;]+|…{1,2}|\.{6})[”’」』》）)\]\"']*|\.(?=\s|$)|\n+"
)  # a single "." ends a sentence in Chinese text only before white space: 3.14, www.x.cn


def punkt_data_is_here(language: str = "en") -> bool:
    """Whether NLTK finds the data of its sentence tokenizer (variable ``NLTK_DATA`` and its usual folders)."""
    import nltk

    name = NLTK_NAMES.get(language)
    if name is None:
        return False
    try:
        nltk.data.find(f"tokenizers/punkt_tab/{name}/")
    except LookupError:
        return False
    return True


def segmenter_for(language: str) -> Literal["punkt", "pysbd", "rules"]:
    """Which segmenter ``auto`` means for a language on this machine.

    Raises:
        Unsupported: neither knows the language.
    """
    if language == "zh":
        return "rules"
    return "punkt" if punkt_data_is_here(language) else "pysbd"


def sentence_spans(text: str, language: str = "auto", segmenter: Segmenter = "auto") -> list[Span]:
    """(start, end) of every sentence, without the white space around it.

    Args:
        language: ISO 639-1 code; ``auto``: Chinese by its characters, else English.
        segmenter: ``auto``: rules for Chinese, Punkt if its data are here, else pySBD.

    Raises:
        Unsupported: the segmenter does not know the language.
        NotFound: ``punkt`` was asked for and its data are not here.
    """
    code = resolve_language(language, text)
    chosen = segmenter_for(code) if segmenter == "auto" else segmenter
    if chosen == "rules":
        return _rule_spans(text)
    if chosen == "punkt":
        spans = [(int(start), int(end)) for start, end in _punkt(code).span_tokenize(text)]
        return [span for span in (_trim(text, start, end) for start, end in spans) if span[0] < span[1]]
    return _pysbd_spans(text, code)


def _trim(text: str, start: int, end: int) -> Span:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - (len(piece) - len(piece.rstrip()))


def _rule_spans(text: str) -> list[Span]:
    spans: list[Span] = []
    start = 0
    for match in _CHINESE_END.finditer(text):
        spans.append(_trim(text, start, match.end()))
        start = match.end()
    spans.append(_trim(text, start, len(text)))
    return [(start, end) for start, end in spans if start < end]


@cache
def _punkt(language: str) -> Any:
    from nltk.tokenize.punkt import PunktTokenizer

    require_language(language, NLTK_NAMES, "Punkt")
    try:
        return PunktTokenizer(NLTK_NAMES[language])
    except LookupError as error:
        raise NotFound(
            t("the data of NLTK's sentence tokenizer for {language} are not on this machine", language=language),
            hint=t("Set NLTK_DATA to the folder that has tokenizers/punkt_tab, or use the segmenter pysbd."),
        ) from error


@cache
def _pysbd(language: str) -> Any:
    import pysbd
    from pysbd.languages import LANGUAGE_CODES

    require_language(language, LANGUAGE_CODES, "pySBD")
    logger.info("sentences of %s are found by pySBD, since the data of Punkt are not on this machine", language)
    return pysbd.Segmenter(language=language, clean=False)


def _pysbd_spans(text: str, language: str) -> list[Span]:
    """Sentences of pySBD, found again in the text; it may change white space, so its own spans are not relied on."""
    segmenter = _pysbd(language)
    spans: list[Span] = []
    for line in re.finditer(r"[^\n]+", text):
        place = line.start()
        for sentence in segmenter.segment(line[0]):
            words = sentence.strip()
            start = text.find(words, place, line.end()) if words else -1
            if start >= 0:
                spans.append((start, start + len(words)))
                place = start + len(words)
        spans = _cover(text, spans, line.start(), line.end())
    return spans


def _cover(text: str, spans: list[Span], start: int, end: int) -> list[Span]:
    """Give what pySBD left out of a line to the sentence before it, so that no text is lost."""
    inside = [span for span in spans if span[0] >= start]
    before = spans[: len(spans) - len(inside)]
    starts = [start, *(first for first, _ in inside[1:])] if inside else [start]
    found = [_trim(text, first, last) for first, last in zip(starts, [*starts[1:], end], strict=True)]
    return [*before, *(span for span in found if span[0] < span[1])]


class SegmentSentences(TransformConfig):
    """Write every sentence on a line of its own."""

    step: Literal["segment_sentences"] = "segment_sentences"
    language: str = Field("auto", description="ISO 639-1 code; auto: Chinese by its characters, else English.")
    segmenter: Segmenter = Field(
        "auto",
        description="punkt (NLTK, needs its data), pysbd or rules (Chinese); auto: rules for Chinese, punkt if its "
        "data are on this machine, else pysbd. Name one for the same result on every machine.",
    )

    def build(self) -> Transform:
        return partial(_segment, language=self.language, segmenter=self.segmenter)


def _segment(text: str, language: str, segmenter: Segmenter) -> tuple[str, Counts]:
    spans = sentence_spans(text, language, segmenter)
    segmented = "\n".join(text[start:end].replace("\n", " ") for start, end in spans)
    return segmented, ({"sentences": len(spans)} if spans else NO_COUNTS)
