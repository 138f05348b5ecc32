"""Repetition inside a text: the measures and limits of table A1 of Rae et al., Scaling Language Models (2021)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from llmasos.data.filters.measures import too_large, units
from llmasos.data.row import Row
from llmasos.data.step import FilterConfig, Rejection

_PARAGRAPH = re.compile(r"\n\s*\n")


def duplicate_share(pieces: Sequence[str]) -> tuple[float, float]:
    """Share of the pieces, and of their characters, that stand before already; 0 without pieces."""
    seen: set[str] = set()
    count = characters = 0
    for piece in pieces:
        if piece in seen:
            count += 1
            characters += len(piece)
        seen.add(piece)
    total = sum(map(len, pieces))
    return (count / len(pieces), characters / total) if total else (0.0, 0.0)


def top_ngram_share(words: Sequence[str], size: int) -> float:
    """Share of the characters of the words that the most frequent n-gram covers; an n-gram that occurs once: 0."""
    total = sum(map(len, words))
    counts = Counter(tuple(words[place : place + size]) for place in range(len(words) - size + 1))
    most = max(counts.values(), default=0)
    if most < 2 or not total:
        return 0.0
    longest = max(sum(map(len, ngram)) for ngram, count in counts.items() if count == most)
    return min(1.0, longest * most / total)


def repeated_ngram_share(words: Sequence[str], size: int) -> float:
    """Share of the characters of the words that lie in n-grams that occurred before, overlaps counted once."""
    total = sum(map(len, words))
    if not total:
        return 0.0
    seen: set[tuple[str, ...]] = set()
    covered = 0
    counted_to = 0
    for place in range(len(words) - size + 1):
        ngram = tuple(words[place : place + size])
        if ngram in seen:
            start = max(place, counted_to)
            covered += sum(map(len, words[start : place + size]))
            counted_to = place + size
        seen.add(ngram)
    return covered / total


class FilterRepetition(FilterConfig):
    """Reject texts that repeat lines, paragraphs or runs of words (of characters in Chinese)."""

    step: Literal["filter_repetition"] = "filter_repetition"
    most_lines: float = Field(0.3, ge=0, le=1, description="Largest share of lines that stand above already.")
    most_paragraphs: float = Field(0.3, ge=0, le=1, description="Largest share of repeated paragraphs.")
    most_line_characters: float = Field(0.2, ge=0, le=1, description="Largest share of characters in repeated lines.")
    most_paragraph_characters: float = Field(
        0.2, ge=0, le=1, description="Largest share of characters in repeated paragraphs."
    )
    top_ngrams: dict[int, float] = Field(
        default_factory=lambda: {2: 0.2, 3: 0.18, 4: 0.16},
        description="Largest share of characters that the most frequent n-gram covers, by n.",
    )
    repeated_ngrams: dict[int, float] = Field(
        default_factory=lambda: {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10},
        description="Largest share of characters in n-grams that occurred before, by n.",
    )
    shortest: int = Field(20, ge=1, description="Texts with fewer words (characters of Chinese) pass.")

    def build(self) -> RepetitionFilter:
        return RepetitionFilter(self)


class RepetitionFilter:
    """Rejects at the first measure above its limit."""

    def __init__(self, config: FilterRepetition) -> None:
        self._config = config

    def __call__(self, row: Row) -> Rejection | None:
        return next(self._broken(row.text()), None)

    def _broken(self, text: str) -> Iterator[Rejection]:
        limits = self._config
        words = [word.lower() for word in units(text)]
        if len(words) < limits.shortest:
            return
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        paragraphs = [paragraph.strip() for paragraph in _PARAGRAPH.split(text) if paragraph.strip()]
        for pieces, name, most, most_characters in (
            (lines, "lines", limits.most_lines, limits.most_line_characters),
            (paragraphs, "paragraphs", limits.most_paragraphs, limits.most_paragraph_characters),
        ):
            share, characters = duplicate_share(pieces)
            if share > most:
                yield too_large(f"repeated_{name}", f"share of repeated {name}", share, most)
            if characters > most_characters:
                yield too_large(f"repeated_{name}", f"share of text in repeated {name}", characters, most_characters)
        for size, most in sorted(limits.top_ngrams.items()):
            share = top_ngram_share(words, size)
            if share > most:
                yield too_large(f"frequent_{size}_gram", f"share of the most frequent {size}-gram", share, most)
        for size, most in sorted(limits.repeated_ngrams.items()):
            share = repeated_ngram_share(words, size)
            if share > most:
                yield too_large(f"repeated_{size}_grams", f"share of repeated {size}-grams", share, most)
