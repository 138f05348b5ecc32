"""Decontamination: reject rows that share long runs of words with evaluation sets.

As in Brown et al., Language Models are Few-Shot Learners (2020), appendix C: n-grams of 13 words; n-grams that stand in
many evaluation texts are templates and do not count. Chinese is compared by characters, 20 of which say about as much.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from llmasos.data.deduplication.other_data import read_other_data, resolve_sources
from llmasos.data.deduplication.shingles import run_hashes
from llmasos.data.deduplication.tokens import Hashes, Positions, Tokens, tokenize
from llmasos.data.linguistics.languages import is_chinese
from llmasos.data.row import Row
from llmasos.data.sources.config import Source
from llmasos.data.step import FilterConfig, Rejection

logger = logging.getLogger(__name__)

_SHOWN = 160


class Decontaminate(FilterConfig):
    """Reject rows that share a long run of words with an evaluation set, and show the run."""

    step: Literal["decontaminate"] = "decontaminate"
    against: tuple[Source, ...] = Field(min_length=1, description="Evaluation sets.")
    words: int = Field(13, ge=2, le=100, description="Length of a shared run in words.")
    characters: int = Field(20, ge=2, le=200, description="Length of a shared run in characters, for Chinese texts.")
    shortest: float = Field(
        0.5, gt=0, le=1,
        description="Evaluation texts shorter than a run are looked for as a whole, if they have at least this share "
        "of its length; shorter ones cannot be found and are counted.",
    )  # fmt: skip
    common: int = Field(10, ge=1, description="Runs in more evaluation texts than this are templates and ignored.")
    least_share: float = Field(
        0, ge=0, le=1, description="Share of an evaluation text that must be found in a row. 0: one run is enough."
    )

    def resolve_paths(self, folder: Path) -> Decontaminate:
        """The same with files relative to this folder."""
        return self.model_copy(update={"against": resolve_sources(self.against, folder)})

    def build(self) -> DecontaminationFilter:
        return DecontaminationFilter(self, read_other_data(self.against))


@dataclass(frozen=True, slots=True)
class Match:
    """A run of words that stands in a row and in an evaluation text.

    Attributes:
        evaluation: id of the evaluation row.
        tokens: length of the run.
        share: of the tokens of the evaluation text that are found in the row.
        text: the run, case and width folded.
    """

    evaluation: str
    tokens: int
    share: float
    text: str


@dataclass
class EvaluationIndex:
    """Runs of evaluation texts by length.

    Attributes:
        runs: by length: hashes, rising, and for each the place of its first token and its text's number.
        too_short: evaluation texts that are too short to be found.
        common: runs that were left out as templates.
    """

    tokens: Tokens
    identities: list[str]
    runs: dict[int, tuple[Hashes, Positions, Positions]] = field(default_factory=dict)
    too_short: int = 0
    common: int = 0

    @classmethod
    def build(cls, rows: Iterable[Row], config: Decontaminate) -> EvaluationIndex:
        identities: list[str] = []
        texts: list[str] = []
        for row in rows:
            for _, text in row.texts():
                identities.append(row.id)
                texts.append(text)
        index = cls(tokenize(texts), identities)
        lengths: dict[int, list[int]] = {}
        for number, text in enumerate(texts):
            size = int(index.tokens.offsets[number + 1] - index.tokens.offsets[number])
            run = config.characters if is_chinese(text) else config.words
            if size < math.ceil(run * config.shortest):
                index.too_short += size > 0
                continue
            lengths.setdefault(min(run, size), []).append(number)
        for length, numbers in sorted(lengths.items()):
            index._add(length, np.array(numbers, np.int64), config.common)
        return index

    def _add(self, length: int, numbers: Positions, common: int) -> None:
        offsets = self.tokens.offsets
        counts = offsets[numbers + 1] - offsets[numbers] - length + 1
        owners = np.repeat(numbers, counts)
        places = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts) + offsets[owners]
        hashes = run_hashes(self.tokens.hashes, length)[places]
        order = np.lexsort((places, hashes))
        hashes, places, owners = hashes[order], places[order], owners[order]
        fresh = np.ones(len(hashes), np.bool_)  # count texts, not occurrences, of a run
        fresh[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
        first = np.ones(len(hashes), np.bool_)
        first[1:] = hashes[1:] != hashes[:-1]
        groups = np.cumsum(first) - 1
        rare = np.bincount(groups, weights=fresh)[groups] <= common
        self.common += int((first & ~rare).sum())
        self.runs[length] = hashes[rare], places[rare], owners[rare]


class DecontaminationFilter:
    """A batch filter; the index is built once for each process."""

    batch_size = 1024

    def __init__(self, config: Decontaminate, evaluation: Iterable[Row]) -> None:
        self._config = config
        self._index = EvaluationIndex.build(evaluation, config)
        if self._index.too_short:
            logger.warning(
                "decontaminate: %d evaluation texts are too short to be found in the data", self._index.too_short
            )
        if self._index.common:
            logger.info("decontaminate: %d runs stand in many evaluation texts and are ignored", self._index.common)

    @property
    def index(self) -> EvaluationIndex:
        return self._index

    def judge(self, rows: Sequence[Row]) -> list[Rejection | None]:
        verdicts: list[Rejection | None] = []
        for matches in self.find(rows):
            if not matches:
                verdicts.append(None)
                continue
            best = matches[0]
            shown = best.text if len(best.text) <= _SHOWN else f"{best.text[:_SHOWN]}..."
            detail = (
                f'{best.tokens} words or characters shared with {best.evaluation} ({best.share:.0%} of it): "{shown}"'
            )
            related = tuple(dict.fromkeys(match.evaluation for match in matches))
            verdicts.append(Rejection("in_evaluation_set", detail, related[:5]))
        return verdicts

    def find(self, rows: Sequence[Row]) -> list[list[Match]]:
        """All matches of each row, the longest run first."""
        texts: list[str] = []
        owners: list[int] = []
        for number, row in enumerate(rows):
            for _, text in row.texts():
                texts.append(text)
                owners.append(number)
        tokens = tokenize(texts)
        found: list[dict[int, list[tuple[int, int, int]]]] = [{} for _ in rows]
        for length in self._index.runs:
            for place, part, evaluation_place, evaluation in self._hits(tokens, length):
                found[owners[part]].setdefault(evaluation, []).append((place, evaluation_place, length))
        return [self._matches(tokens, hits) for hits in found]

    def _hits(self, tokens: Tokens, length: int) -> Iterable[tuple[int, int, int, int]]:
        """(place, text, place in the evaluation texts, evaluation text) of every run that is really the same."""
        hashes, places, owners = self._index.runs[length]
        mine = run_hashes(tokens.hashes, length)
        if not len(mine) or not len(hashes):
            return
        first = np.searchsorted(hashes, mine, side="left")
        last = np.searchsorted(hashes, mine, side="right")
        for place in np.flatnonzero(last > first):
            text = int(np.searchsorted(tokens.offsets, place, side="right")) - 1
            if place + length > tokens.offsets[text + 1]:
                continue
            run = tokens.words(int(place), int(place) + length)
            for entry in range(int(first[place]), int(last[place])):
                other = int(places[entry])
                if self._index.tokens.words(other, other + length) == run:
                    yield int(place), text, other, int(owners[entry])

    def _matches(self, tokens: Tokens, hits: dict[int, list[tuple[int, int, int]]]) -> list[Match]:
        matches = []
        for evaluation, runs in hits.items():
            start, end = _longest(runs)
            size = int(self._index.tokens.offsets[evaluation + 1] - self._index.tokens.offsets[evaluation])
            covered = {place + step for _, place, length in runs for step in range(length)}
            share = len(covered) / size
            if share >= self._config.least_share:
                text = tokens.text[tokens.starts[start] : tokens.ends[end - 1]]
                matches.append(Match(self._index.identities[evaluation], end - start, share, text))
        return sorted(matches, key=lambda match: (-match.tokens, match.evaluation))


def _longest(runs: list[tuple[int, int, int]]) -> tuple[int, int]:
    """The longest stretch of tokens of the row that runs cover without a gap, each going on where the last began."""
    best = (0, 0)
    start = end = shift = -1
    for place, other, length in sorted(runs):
        if place > end or other - place != shift:
            start, shift = place, other - place
        end = place + length
        if end - start > best[1] - best[0]:
            best = (start, end)
    return best
