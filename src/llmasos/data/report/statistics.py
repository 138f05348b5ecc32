"""Measuring the rows of the output while they are written."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import floor, log2
from pathlib import Path
from typing import Any

from llmasos.data.pipeline.account import row_key
from llmasos.data.row import JsonValue, Label, Row

_BINS_PER_OCTAVE = 2
_MOST_LABELS = 1000
_WORD = re.compile(r"[^\W\d_]+", re.UNICODE)
_KEY_RANGE = 1 << 64


def length_bin(length: int) -> int:
    """The bin of a length on a logarithmic scale with two bins for each doubling; 0 is the bin of 0."""
    return 0 if length <= 0 else 1 + floor(log2(length) * _BINS_PER_OCTAVE)


def bin_edges(number: int) -> tuple[int, int]:
    """Smallest and largest length of a bin."""
    if number == 0:
        return 0, 0
    low = 2 ** ((number - 1) / _BINS_PER_OCTAVE)
    high = 2 ** (number / _BINS_PER_OCTAVE)
    first = int(low) if low == int(low) else int(low) + 1
    last = int(high) - 1 if high == int(high) else int(high)
    return first, max(last, first)


@dataclass(frozen=True)
class MeasureConfig:
    """What to measure.

    Attributes:
        rows: of the whole output, to choose a sample of about ``sample`` rows for what is slow.
        tokenizer: folder of the model whose vocabulary is looked at.
    """

    rows: int
    sample: int = 4000
    tokenizer: Path | None = None
    reference: str = ""


class Measure:
    """Statistics of one file of the output; those of all files add up."""

    def __init__(self, config: MeasureConfig) -> None:
        self._config = config
        self._bound = min(_KEY_RANGE, _KEY_RANGE * config.sample // max(config.rows, 1))
        self.rows = 0
        self.characters = 0
        self.sampled = 0
        self.lengths: Counter[int] = Counter()
        self.tokens: Counter[int] = Counter()
        self.token_total = 0
        self.trained_total = 0
        self.languages: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()
        self.vocabulary: set[int] = set()
        self.sampled_tokens = 0
        self.sampled_words = 0
        self.sampled_characters = 0
        self.unknown_tokens = 0

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Pass rows on and measure them."""
        for row in rows:
            self._see(row)
            yield row

    def _see(self, row: Row) -> None:
        text = row.text()
        self.rows += 1
        self.characters += len(text)
        self.lengths[length_bin(len(text))] += 1
        self.sources[row.origin.source] += 1
        if isinstance(row.sample, Label) and (row.sample.label in self.labels or len(self.labels) < _MOST_LABELS):
            self.labels[row.sample.label] += 1
        if "tokens" in row.metadata:
            self.tokens[length_bin(row.metadata["tokens"])] += 1
            self.token_total += row.metadata["tokens"]
            self.trained_total += row.metadata.get("trained_tokens", 0)
        if row_key(row.id, "statistics") < self._bound:
            self._see_closely(text)

    def _see_closely(self, text: str) -> None:
        import py3langid

        self.sampled += 1
        self.languages[str(py3langid.classify(text[:2000])[0])] += 1
        if self._tokenizer is not None:
            ids = self._tokenizer.encode(text, add_special_tokens=False).ids
            self.vocabulary.update(ids)
            self.sampled_tokens += len(ids)
            self.sampled_words += len(_WORD.findall(text))
            self.sampled_characters += len(text)
            unknown = self._tokenizer.special.id("unk")
            self.unknown_tokens += sum(number == unknown for number in ids) if unknown is not None else 0

    @cached_property
    def _tokenizer(self) -> Any:
        if self._config.tokenizer is None:
            return None
        from llmasos.modeling.folder import ModelFolder
        from llmasos.modeling.tokenizer_files import load_tokenizer

        return load_tokenizer(ModelFolder.open(self._config.tokenizer, reference=self._config.reference))

    def conclude(self) -> dict[str, JsonValue]:
        """The statistics as JSON."""
        return {
            "rows": self.rows,
            "characters": self.characters,
            "lengths": {str(key): count for key, count in sorted(self.lengths.items())},
            "tokens": {str(key): count for key, count in sorted(self.tokens.items())},
            "token_total": self.token_total,
            "trained_total": self.trained_total,
            "sampled": self.sampled,
            "languages": dict(sorted(self.languages.items())),
            "labels": dict(sorted(self.labels.items())),
            "sources": dict(sorted(self.sources.items())),
            "vocabulary": sorted(self.vocabulary),
            "vocabulary_size": self._tokenizer.vocabulary_size if self._tokenizer is not None else 0,
            "sampled_tokens": self.sampled_tokens,
            "sampled_words": self.sampled_words,
            "sampled_characters": self.sampled_characters,
            "unknown_tokens": self.unknown_tokens,
        }


def merge_statistics(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The statistics of several files as one; the vocabulary becomes the number of its entries that occur."""
    total: dict[str, Any] = {}
    vocabulary: set[int] = set()
    for part in parts:
        for name, value in part.items():
            if name == "vocabulary":
                vocabulary.update(value)
            elif name == "vocabulary_size":
                total[name] = max(total.get(name, 0), value)
            elif isinstance(value, dict):
                sums = total.setdefault(name, {})
                for key, count in value.items():
                    sums[key] = sums.get(key, 0) + count
            else:
                total[name] = total.get(name, 0) + value
    total["vocabulary_used"] = len(vocabulary)
    return total
