"""Rules of quality of Gopher, C4 and FineWeb, with the limits of their papers as defaults.

Sources: Rae et al., Scaling Language Models (2021), appendix A1.1; Raffel et al., Exploring the Limits of Transfer
Learning (2020), section 2.2; Penedo et al., The FineWeb Datasets (2024), section 3.4. Where a rule presupposes spaces
between words or English punctuation, Chinese text is measured by its own units or the rule is left out, as each says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from llmasos.data.filters.measures import is_spaced, spaced_words, too_large, too_small, units, word_count
from llmasos.data.filters.repetition import duplicate_share
from llmasos.data.row import Row
from llmasos.data.step import FilterConfig, Rejection

_ENGLISH_FUNCTION_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
_CHINESE_FUNCTION_CHARACTERS = frozenset("的一是在不了有和人这中大为上个")
"""The most frequent characters of Chinese text; what the eight words are for English."""
_BULLETS = ("•", "●", "○", "■", "□", "▪", "▫", "※", "·", "➢", "*", "-", "–")
_TERMINAL = tuple(".!?\"'”’」』。！？…；:：)）")
_C4_TERMINAL = tuple(".!?\"'”’。！？」』")
_POLICY = (
    "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies",
    "使用条款", "隐私政策", "服务条款",
)  # fmt: skip
_PUNCTUATION = re.compile(r"[^\w\s]")
_SENTENCE_END = re.compile(r"[.!?]+[\"'”’)]*(?=\s|$)|[。！？]+[”’」』）]*")


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _share(count: int, total: int) -> float:
    return count / total if total else 0.0


class FilterGopherQuality(FilterConfig):
    """Rules of the Gopher paper about words, symbols, lines and function words."""

    step: Literal["filter_gopher_quality"] = "filter_gopher_quality"
    least_words: int = Field(50, ge=0, description="Fewest words (1.5 Chinese characters count as one).")
    most_words: int = Field(100_000, ge=1, description="Most words.")
    least_word_length: float = Field(3, ge=0, description="Least mean length of words; not for Chinese text.")
    most_word_length: float = Field(10, ge=0, description="Greatest mean length of words; not for Chinese text.")
    most_symbols: float = Field(0.1, ge=0, description="Most hash signs, and most ellipses, for each word.")
    most_bullet_lines: float = Field(0.9, ge=0, le=1, description="Largest share of lines that begin with a bullet.")
    most_ellipsis_lines: float = Field(0.3, ge=0, le=1, description="Largest share of lines that end with an ellipsis.")
    least_alphabetic_words: float = Field(
        0.8, ge=0, le=1, description="Least share of words with a letter; for Chinese of its words and characters."
    )
    least_function_words: int = Field(
        2, ge=0, description="Fewest of the, be, to, of, and, that, have, with; for Chinese of its 15 most frequent "
        "characters. For texts of other languages set 0."
    )  # fmt: skip

    def build(self) -> GopherQualityFilter:
        return GopherQualityFilter(self)


class GopherQualityFilter:
    """Rejects at the first rule that is broken, with the value and the limit."""

    def __init__(self, config: FilterGopherQuality) -> None:
        self._config = config

    def __call__(self, row: Row) -> Rejection | None:
        return next(self._broken(row.text()), None)

    def _broken(self, text: str) -> Iterator[Rejection]:
        limits = self._config
        spaced = is_spaced(text)
        count = word_count(text)
        if count < limits.least_words:
            yield too_small("gopher_few_words", "words", count, limits.least_words)
        if count > limits.most_words:
            yield too_large("gopher_many_words", "words", count, limits.most_words)
        words = units(text)
        if spaced and words:
            length = sum(map(len, words)) / len(words)
            if length < limits.least_word_length:
                yield too_small("gopher_short_words", "mean word length", length, limits.least_word_length)
            if length > limits.most_word_length:
                yield too_large("gopher_long_words", "mean word length", length, limits.most_word_length)
        hashes, ellipses = text.count("#"), text.count("...") + text.count("…")
        if _share(hashes, count) > limits.most_symbols:
            yield too_large("gopher_hash_signs", "hash signs for each word", _share(hashes, count), limits.most_symbols)
        if _share(ellipses, count) > limits.most_symbols:
            yield too_large("gopher_ellipses", "ellipses for each word", _share(ellipses, count), limits.most_symbols)
        yield from self._broken_lines(text)
        tokens = spaced_words(text) if spaced else [*words, *_PUNCTUATION.findall(text)]
        alphabetic = _share(sum(any(map(str.isalpha, token)) for token in tokens), len(tokens))
        least_alphabetic = limits.least_alphabetic_words if spaced else limits.least_alphabetic_words * 0.75
        if tokens and alphabetic < least_alphabetic:
            yield too_small("gopher_not_alphabetic", "share of words with a letter", alphabetic, least_alphabetic)
        function_words = _ENGLISH_FUNCTION_WORDS if spaced else _CHINESE_FUNCTION_CHARACTERS
        found = len(function_words.intersection(word.lower() for word in words))
        if found < limits.least_function_words:
            yield too_small("gopher_few_function_words", "function words", found, limits.least_function_words)

    def _broken_lines(self, text: str) -> Iterator[Rejection]:
        limits, lines = self._config, _lines(text)
        bullets = _share(sum(line.startswith(_BULLETS) for line in lines), len(lines))
        if bullets > limits.most_bullet_lines:
            yield too_large("gopher_bullet_lines", "share of bullet lines", bullets, limits.most_bullet_lines)
        open_ended = _share(sum(line.endswith(("...", "…")) for line in lines), len(lines))
        if open_ended > limits.most_ellipsis_lines:
            yield too_large(
                "gopher_ellipsis_lines", "share of lines with an ellipsis", open_ended, limits.most_ellipsis_lines
            )


class FilterC4Quality(FilterConfig):
    """Rules of C4 that reject pages: few sentences, placeholders, code, lines without an end."""

    step: Literal["filter_c4_quality"] = "filter_c4_quality"
    least_sentences: int = Field(5, ge=0, description="Fewest sentences, counted by their end marks.")
    least_ended_lines: float = Field(
        0.5, ge=0, le=1,
        description="Least share of characters in lines that end with a mark such as . ! ? or 。 (C4 cuts the other "
        "lines out; this filter rejects a page that would lose more than the rest).",
    )  # fmt: skip
    forbid_lorem_ipsum: bool = Field(True, description="Reject placeholder text.")
    forbid_curly_brackets: bool = Field(True, description="Reject { and }, which C4 takes for code; false for code.")
    forbid_javascript_notice: bool = Field(True, description="Reject lines that ask to enable Javascript.")
    most_policy_lines: float = Field(
        0.2, ge=0, le=1, description="Largest share of lines about cookies, privacy policies and terms of use."
    )

    def build(self) -> C4QualityFilter:
        return C4QualityFilter(self)


class C4QualityFilter:
    """Rejects at the first rule that is broken, with the value and the limit."""

    def __init__(self, config: FilterC4Quality) -> None:
        self._config = config

    def __call__(self, row: Row) -> Rejection | None:
        return next(self._broken(row.text()), None)

    def _broken(self, text: str) -> Iterator[Rejection]:
        limits, lowered = self._config, text.lower()
        if limits.forbid_lorem_ipsum and "lorem ipsum" in lowered:
            yield Rejection("c4_lorem_ipsum", "contains lorem ipsum")
        if limits.forbid_curly_brackets and ("{" in text or "}" in text):
            yield Rejection("c4_curly_bracket", "contains a curly bracket")
        lines = _lines(text)
        if limits.forbid_javascript_notice:
            for line in lines:
                if "javascript" in line.lower() and len(line) < 200 and re.search(r"enable|启用|开启", line.lower()):
                    yield Rejection("c4_javascript_notice", f"line: {line[:80]}")
        policy = _share(sum(any(phrase in line.lower() for phrase in _POLICY) for line in lines), len(lines))
        if policy > limits.most_policy_lines:
            yield too_large("c4_policy_lines", "share of lines about policies", policy, limits.most_policy_lines)
        total = sum(map(len, lines))
        ended = _share(sum(len(line) for line in lines if _ends(line)), total)
        if ended < limits.least_ended_lines:
            yield too_small("c4_lines_without_end", "share of text in ended lines", ended, limits.least_ended_lines)
        sentences = sum(max(1, len(_SENTENCE_END.findall(line))) for line in lines if _ends(line))
        if sentences < limits.least_sentences:
            yield too_small("c4_few_sentences", "sentences", sentences, limits.least_sentences)


def _ends(line: str) -> bool:
    return line.endswith(_C4_TERMINAL) and not line.endswith("...")


class FilterFineWebQuality(FilterConfig):
    """Rules of FineWeb about lines: few that end, many short ones, many that repeat, lists."""

    step: Literal["filter_fineweb_quality"] = "filter_fineweb_quality"
    least_ended_lines: float = Field(0.12, ge=0, le=1, description="Least share of lines that end with punctuation.")
    most_short_lines: float = Field(0.67, ge=0, le=1, description="Largest share of short lines.")
    short_line: int = Field(30, ge=1, description="Characters of a short line; for Chinese text a third of it.")
    most_duplicate_characters: float = Field(
        0.1, ge=0, le=1, description="Largest share of characters in repeated lines."
    )
    most_newlines: float = Field(0.3, ge=0, description="Most line breaks for each word.")

    def build(self) -> FineWebQualityFilter:
        return FineWebQualityFilter(self)


class FineWebQualityFilter:
    """Rejects at the first rule that is broken, with the value and the limit."""

    def __init__(self, config: FilterFineWebQuality) -> None:
        self._config = config

    def __call__(self, row: Row) -> Rejection | None:
        return next(self._broken(row.text()), None)

    def _broken(self, text: str) -> Iterator[Rejection]:
        limits, lines = self._config, _lines(text)
        if not lines:
            yield Rejection("fineweb_empty", "no text")
            return
        ended = _share(sum(line.endswith(_TERMINAL) for line in lines), len(lines))
        if ended < limits.least_ended_lines:
            yield too_small("fineweb_lines_without_end", "share of ended lines", ended, limits.least_ended_lines)
        length = limits.short_line if is_spaced(text) else max(1, limits.short_line // 3)
        short = _share(sum(len(line) <= length for line in lines), len(lines))
        if short > limits.most_short_lines:
            yield too_large("fineweb_short_lines", "share of short lines", short, limits.most_short_lines)
        duplicate = duplicate_share(lines)[1]
        if duplicate > limits.most_duplicate_characters:
            yield too_large(
                "fineweb_duplicate_lines", "share of repeated text", duplicate, limits.most_duplicate_characters
            )
        newlines = _share(len(lines) - 1, word_count(text))
        if newlines > limits.most_newlines:
            yield too_large("fineweb_list", "line breaks for each word", newlines, limits.most_newlines)
