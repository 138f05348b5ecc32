"""Exact duplicates: rows, or parts of documents, whose normalised texts have the same digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from llmasos.data.deduplication import decisions
from llmasos.data.deduplication.decisions import PAIR
from llmasos.data.deduplication.notes import OTHER, IdentityWriter, mapped, note_path, shard_names, writing
from llmasos.data.deduplication.other_data import read_other_data, resolve_sources
from llmasos.data.deduplication.tokens import fold, tokenize
from llmasos.data.deduplication.units import SHORTEST_PART, Unit, check_compared, compared_text
from llmasos.data.row import Label, Row, UnpairedPreference
from llmasos.data.sources.config import Source
from llmasos.data.step import CorpusStepConfig, Counts, Outcome, Place

_BATCH = 2048
_PARTITIONS = 16
_SPACES = re.compile(r"\s+")
_NO_LETTERS = re.compile(r"[\W_]+")

Normalization = Literal["none", "spaces", "letters"]


class ExactDuplicates(CorpusStepConfig):
    """Remove rows, or parts of documents, that stand in the data before."""

    step: Literal["exact_duplicates"] = "exact_duplicates"
    unit: Unit = Field("row", description="What is compared: row, or paragraph, line or sentence of documents.")
    normalize: Normalization = Field(
        "spaces",
        description="Differences that do not count. none: every character counts; spaces: amounts of white space do "
        "not; letters: only letters and digits count, without case and width.",
    )
    places: tuple[Place, ...] | None = Field(
        None, description="Texts of a row that are compared, such as prompt. Default: all. For unit row only."
    )
    shortest_part: int = Field(
        SHORTEST_PART,
        ge=1,
        description="Parts with fewer words (characters of Chinese) are never cut. For units below row.",
    )
    against: tuple[Source, ...] = Field((), description="Other data; what stands there is removed here.")
    within: bool = Field(True, description="Compare the data with themselves, not only with `against`.")

    @model_validator(mode="after")
    def _consistent(self) -> ExactDuplicates:
        check_compared(self.unit, self.places, self.shortest_part)
        if not self.within and not self.against:
            raise ValueError("within: false needs data to compare with in against")
        return self

    def resolve_paths(self, folder: Path) -> ExactDuplicates:
        """The same with files of ``against`` relative to this folder."""
        return self.model_copy(update={"against": resolve_sources(self.against, folder)})

    def build(self) -> ExactDuplicatesStep:
        return ExactDuplicatesStep(self)


class ExactDuplicatesStep:
    """See :class:`llmasos.data.step.CorpusStep`. Notes: 16 bytes and the id of every entry, on disk."""

    partitions = _PARTITIONS

    def __init__(self, config: ExactDuplicates) -> None:
        self._config = config

    def map_shard(self, rows: Iterable[Row], shard: int, folder: Path) -> None:
        if shard == 0 and self._config.against:
            self._write(read_other_data(self._config.against), OTHER, folder)
        self._write(rows, shard, folder)

    def _write(self, rows: Iterable[Row], shard: int | str, folder: Path) -> None:
        with writing(folder, shard, ["digests", *IdentityWriter.NAMES]) as (digests, *files):
            identities = IdentityWriter(*files)
            entries = self._entries(rows)
            while batch := list(islice(entries, _BATCH)):
                identities.write([identity for identity, _ in batch])
                digests.write(b"".join(digest for _, digest in batch))

    def _entries(self, rows: Iterable[Row]) -> Iterator[tuple[str, bytes]]:
        unit, normalization = self._config.unit, self._config.normalize
        for row in rows:
            if unit == "row":
                text = normalized(compared_text(row, self._config.places), normalization)
                yield row.id, digest(f"{text}\0{_verdict(row)}") if text else _NEVER
                continue
            parts = decisions.parts_of(row, unit)
            long_enough = np.diff(tokenize([text for _, text in parts]).offsets) >= self._config.shortest_part
            for (identity, text), counts in zip(parts, long_enough, strict=True):
                yield identity, digest(normalized(text, normalization)) if counts else _NEVER

    def reduce_partition(self, partition: int, shards: int, folder: Path) -> None:
        """Find equal digests among those that fall to this partition; the first entry of each stays."""
        names = shard_names(folder, shards)
        found, numbers, first = [], [], 0
        other = 0
        for name in names:
            values = mapped(note_path(folder, "digests", name), "<u8").reshape(-1, 2)
            chosen = np.flatnonzero((values[:, 0] % self.partitions == partition) & (values != 0).any(axis=1))
            found.append(values[chosen])
            numbers.append(chosen + first)
            first += len(values)
            other = first if name == OTHER else other
        digests, entries = np.concatenate(found), np.concatenate(numbers)
        order = np.lexsort((entries, digests[:, 1], digests[:, 0]))
        digests, entries = digests[order], entries[order]
        starts = np.ones(len(entries), np.bool_)
        starts[1:] = (digests[1:] != digests[:-1]).any(axis=1)
        kept = entries[starts][np.cumsum(starts) - 1] if len(entries) else entries
        again = ~starts & ((kept < other) | self._config.within) & (entries >= other)
        pairs = np.empty(int(again.sum()), PAIR)
        pairs["first"], pairs["second"], pairs["similarity"] = kept[again], entries[again], 1.0
        decisions.save_pairs(folder, partition, pairs)

    def conclude(self, shards: int, folder: Path) -> Counts:
        return decisions.conclude(shards, self.partitions, folder)

    def apply(self, rows: Iterable[Row], shard: int, folder: Path) -> Iterator[Outcome]:
        return decisions.apply(rows, shard, folder, self._config.unit, "exact")


_NEVER = bytes(16)
"""Stands for an entry that is not compared: an empty text, a part that is too short."""


def digest(text: str) -> bytes:
    """16 bytes of BLAKE2b: equal digests of different texts need some 2^64 texts to be likely."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def normalized(text: str, normalization: Normalization) -> str:
    """The text without the differences that do not count."""
    if normalization == "none":
        return text
    if normalization == "spaces":
        return _SPACES.sub(" ", text).strip()
    return _NO_LETTERS.sub("", fold(text))


def _verdict(row: Row) -> str:
    """What a row says beside its texts; rows that differ here teach different things and are no duplicates."""
    sample = row.sample
    if isinstance(sample, Label):
        return sample.label
    return str(sample.desirable) if isinstance(sample, UnpairedPreference) else ""
