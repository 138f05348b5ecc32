"""ROUGE (Lin 2004) that is right for Chinese, and equals the package rouge-score for English."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field

from llmasos.evaluation.metrics.base import Context, Metric
from llmasos.evaluation.metrics.score import Score, mean
from llmasos.evaluation.metrics.text import Words, overlap_tokens
from llmasos.evaluation.metrics.translation import pairs
from llmasos.evaluation.records import Record

Measure = Literal["f1", "precision", "recall"]
Variant = Literal["rouge1", "rouge2", "rougeL", "rougeLsum"]

_SENTENCE_END = re.compile(r"(?<=[。！？；!?])(?=\S)|(?<=[.!?])\s+|\n")


@dataclass(frozen=True)
class Overlap:
    """How much two texts share; each from 0 to 1."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """The harmonic mean."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both > 0 else 0.0

    @classmethod
    def of(cls, shared: int, output: int, reference: int) -> Overlap:
        """From counts; an empty text shares nothing."""
        return cls(shared / output if output else 0.0, shared / reference if reference else 0.0)


class Rouge(Metric):
    """Overlap of n-grams (ROUGE-1, ROUGE-2) and of common subsequences (ROUGE-L, and sentence by sentence Lsum).

    Of several references the one with the best F1 counts, for each variant.
    """

    name: ClassVar[str] = "rouge"
    variants: tuple[Variant, ...] = Field(
        ("rouge1", "rouge2", "rougeL", "rougeLsum"), min_length=1, description="What is computed."
    )
    measures: tuple[Measure, ...] = Field(("f1",), min_length=1, description="Which of F1, precision and recall.")
    chinese: Words = Field("characters", description="What Chinese is cut into: characters, or the words of jieba.")
    stem: bool = Field(True, description="Take the endings off English words of more than three letters.")
    sentences: Literal["lines", "punctuation"] = Field(
        "lines", description="What separates sentences for rougeLsum: line breaks alone, or ends of sentences as well."
    )

    def compute(self, records: Sequence[Record], context: Context) -> dict[str, Score]:
        given = pairs(records, self.name)
        texts = [
            (self.tokens(output, context.language), [self.tokens(text, context.language) for text in references])
            for output, references in given
        ]
        scores = {}
        for variant in self.variants:
            best = [
                max((overlap(variant, output, reference) for reference in references), key=lambda found: found.f1)
                for output, references in texts
            ]
            for measure in self.measures:
                name = variant if measure == "f1" else f"{variant}_{measure}"
                signature = f"tokens:{self.chinese}|stem:{'yes' if self.stem else 'no'}|sentences:{self.sentences}"
                scores[name] = mean([getattr(found, measure) for found in best], signature=signature)
        return scores

    def tokens(self, text: str, language: str | None) -> list[list[str]]:
        """The tokens of every sentence."""
        lines = text.split("\n") if self.sentences == "lines" else _SENTENCE_END.split(text)
        return [overlap_tokens(line, language, self.chinese, stem=self.stem) for line in lines if line]


def overlap(variant: Variant, output: Sequence[Sequence[str]], reference: Sequence[Sequence[str]]) -> Overlap:
    """One variant for one pair of texts, given as tokens of their sentences."""
    if variant == "rougeLsum":
        return _union_of_subsequences(output, reference)
    mine, right = list(_flat(output)), list(_flat(reference))
    if variant == "rougeL":
        return Overlap.of(subsequence_length(mine, right), len(mine), len(right))
    size = 1 if variant == "rouge1" else 2
    ours, theirs = ngrams(mine, size), ngrams(right, size)
    return Overlap.of(sum((ours & theirs).values()), ours.total(), theirs.total())


def ngrams(tokens: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    """How often every n-gram occurs."""
    return Counter(zip(*(tokens[start:] for start in range(size)), strict=False))


def subsequence_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence.

    By bits of whole numbers, a row of the usual table at once: Hyyrö 2004, Bit-parallel LCS-length computation
    revisited.
    """
    places: dict[str, int] = {}
    for index, token in enumerate(first):
        places[token] = places.get(token, 0) | 1 << index
    everything = (1 << len(first)) - 1
    row = everything
    for token in second:
        matched = row & places.get(token, 0)
        row = (row + matched | row - matched) & everything
    return len(first) - row.bit_count()


def _flat(sentences: Sequence[Sequence[str]]) -> Iterator[str]:
    for sentence in sentences:
        yield from sentence


def _union_of_subsequences(output: Sequence[Sequence[str]], reference: Sequence[Sequence[str]]) -> Overlap:
    """ROUGE-Lsum: of each sentence of the reference, the tokens that are in a longest common subsequence with any
    sentence of the output; no token counts more often than either text has it (Lin 2004, section 3.2).
    """
    ours, theirs = Counter(_flat(output)), Counter(_flat(reference))
    mine, right = ours.total(), theirs.total()
    if len(output) == len(reference) == 1:
        return Overlap.of(subsequence_length(output[0], reference[0]), mine, right)
    shared = 0
    for sentence in reference:
        covered: set[int] = set()
        for other in output:
            covered |= _subsequence_places(sentence, other)
        for place in sorted(covered):
            token = sentence[place]
            if ours[token] > 0 and theirs[token] > 0:
                shared += 1
                ours[token] -= 1
                theirs[token] -= 1
    return Overlap.of(shared, mine, right)


def _subsequence_places(first: Sequence[str], second: Sequence[str]) -> set[int]:
    """Places in ``first`` of one longest common subsequence: the one that is found from the end, going back in
    ``first`` where both ways are as long."""
    table = [[0] * (len(second) + 1)]
    for token in first:
        above, row = table[-1], [0]
        for column, other in enumerate(second, start=1):
            row.append(above[column - 1] + 1 if token == other else max(above[column], row[-1]))
        table.append(row)
    places = set()
    line, column = len(first), len(second)
    while line > 0 and column > 0:
        if first[line - 1] == second[column - 1]:
            places.add(line - 1)
            line, column = line - 1, column - 1
        elif table[line][column - 1] > table[line - 1][column]:
            column -= 1
        else:
            line -= 1
    return places
