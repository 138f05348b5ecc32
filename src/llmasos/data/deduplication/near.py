"""Near duplicates: MinHash finds candidates, the true Jaccard similarity of their shingles decides."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from llmasos.data.deduplication import decisions
from llmasos.data.deduplication.components import Components
from llmasos.data.deduplication.minhash import Permutations, band_keys, choose_bands, least_agreement, sketches
from llmasos.data.deduplication.notes import OTHER, IdentityWriter, mapped, note_path, shard_names, writing
from llmasos.data.deduplication.other_data import read_other_data, resolve_sources
from llmasos.data.deduplication.shingles import shingle_sets
from llmasos.data.deduplication.tokens import Hashes, tokenize
from llmasos.data.deduplication.units import SHORTEST_PART, Unit, check_compared, compared_text
from llmasos.data.deduplication.verification import EntryStore, PairFinder
from llmasos.data.row import Row
from llmasos.data.sources.config import Source
from llmasos.data.step import CorpusStepConfig, Counts, Outcome, Place

logger = logging.getLogger(__name__)

_BATCH_ENTRIES = 4096
_BATCH_CHARACTERS = 1_000_000
_PARTITIONS = 4
"""Bands are shared out among so many tasks. A pair is verified once in each, so more tasks do more work in all."""
_FILES = ["bands", "blocks", "shingles", "sizes", "sketches", *IdentityWriter.NAMES]


class NearDuplicates(CorpusStepConfig):
    """Remove rows, or parts of documents, that are nearly the same as one before."""

    step: Literal["near_duplicates"] = "near_duplicates"
    unit: Unit = Field("row", description="What is compared: row, or paragraph, line or sentence of documents.")
    threshold: float = Field(
        0.7, gt=0, le=1, description="Jaccard similarity of shingles from which on rows are alike."
    )
    shingle_size: int = Field(
        3, ge=1, le=50, description="Words (characters of Chinese, Japanese, Thai ...) in a row that make a shingle."
    )
    permutations: int = Field(128, ge=8, le=1024, description="Values of a MinHash signature.")
    recall: float = Field(
        0.99,
        gt=0,
        lt=1,
        description="Chance with which a pair at the threshold becomes a candidate; it sets the bands. More alike "
        "pairs are found more surely.",
    )
    seed: int = Field(1, ge=0, le=2**32 - 1, description="Seed of the permutations.")
    places: tuple[Place, ...] | None = Field(
        None, description="Texts of a row that are compared, such as prompt. Default: all. For unit row only."
    )
    shortest_part: int = Field(
        SHORTEST_PART,
        ge=1,
        description="Parts with fewer words (characters of Chinese) are never cut. For units below row.",
    )
    against: tuple[Source, ...] = Field((), description="Other data; what is like them is removed here.")
    within: bool = Field(True, description="Compare the data with themselves, not only with `against`.")
    most_leaders: int = Field(
        1000,
        ge=1,
        description="Members of a group of candidates that are compared with all others of it. Pairs left out are "
        "counted as pairs_not_compared.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> NearDuplicates:
        check_compared(self.unit, self.places, self.shortest_part)
        if not self.within and not self.against:
            raise ValueError("within: false needs data to compare with in against")
        return self

    def resolve_paths(self, folder: Path) -> NearDuplicates:
        """The same with files of ``against`` relative to this folder."""
        return self.model_copy(update={"against": resolve_sources(self.against, folder)})

    def build(self) -> NearDuplicatesStep:
        return NearDuplicatesStep(self)


class Noted(NamedTuple):
    """What is kept of a batch of texts: (bands, texts) keys, all shingles, how many each text has, its sketch."""

    keys: Hashes
    shingles: NDArray[np.uint32]
    sizes: NDArray[np.uint32]
    sketches: NDArray[np.uint8]


class NearDuplicatesStep:
    """See :class:`llmasos.data.step.CorpusStep`.

    Notes on disk: 8 bytes for each band, 4 for each shingle, 2 bits for each permutation and the id, for every entry.
    Memory while comparing: some 90 bytes an entry.
    """

    partitions = _PARTITIONS

    def __init__(self, config: NearDuplicates) -> None:
        self._config = config
        self._bands = choose_bands(config.threshold, config.permutations, config.recall)

    def map_shard(self, rows: Iterable[Row], shard: int, folder: Path) -> None:
        if shard == 0 and self._config.against:
            self._write(read_other_data(self._config.against), OTHER, folder)
        self._write(rows, shard, folder)

    def _write(self, rows: Iterable[Row], shard: int | str, folder: Path) -> None:
        permutations = Permutations.make(self._config.permutations, self._config.seed)
        with writing(folder, shard, _FILES) as files:
            writer = _EntryWriter(files, self, permutations)
            for row in rows:
                if self._config.unit == "row":
                    writer.add(row.id, compared_text(row, self._config.places))
                else:
                    for identity, text in decisions.parts_of(row, self._config.unit):
                        writer.add(identity, text)
            writer.flush()

    def note(self, texts: list[str], permutations: Permutations) -> Noted:
        """What is kept of these texts."""
        tokens = tokenize(texts)
        sets = shingle_sets(tokens, self._config.shingle_size)
        if self._config.unit != "row":
            sets = sets.only(np.diff(tokens.offsets) >= self._config.shortest_part)
        signatures = permutations.signatures(sets)
        return Noted(
            keys=band_keys(signatures, self._bands),
            shingles=sets.hashes,
            sizes=np.diff(sets.offsets).astype(np.uint32),
            sketches=sketches(signatures),
        )

    def reduce_partition(self, partition: int, shards: int, folder: Path) -> None:
        """Compare the entries that agree in one of the bands of this partition."""
        names = shard_names(folder, shards)
        store = EntryStore(folder, names, -(-self._config.permutations // 4))
        finder = PairFinder(
            store=store,
            components=Components(len(store.sizes)),
            threshold=self._config.threshold,
            other=int(store.first[1]) if names[0] == OTHER else 0,
            within=self._config.within,
            most_leaders=self._config.most_leaders,
            least_agreement=least_agreement(self._config.threshold, self._config.permutations),
        )
        for band in range(partition, self._bands.count, self.partitions):
            finder.add_band(np.concatenate([_read_band(folder, name, band, self._bands.count) for name in names]))
        decisions.save_pairs(folder, partition, finder.found())
        counts = {"pairs_compared": finder.compared, "pairs_not_compared": finder.not_compared}
        (folder / f"counts-{partition:05d}.json").write_text(json.dumps(counts), encoding="utf-8")

    def conclude(self, shards: int, folder: Path) -> Counts:
        counts = dict(decisions.conclude(shards, self.partitions, folder))
        for partition in range(self.partitions):
            for name, value in json.loads((folder / f"counts-{partition:05d}.json").read_text("utf-8")).items():
                if value:
                    counts[name] = counts.get(name, 0) + value
        if counts.get("pairs_not_compared"):
            logger.warning(
                "near duplicates: %d pairs were not compared because groups of candidates were too large; "
                "raise most_leaders to compare them",
                counts["pairs_not_compared"],
            )
        return counts

    def apply(self, rows: Iterable[Row], shard: int, folder: Path) -> Iterator[Outcome]:
        return decisions.apply(rows, shard, folder, self._config.unit, "near")


class _EntryWriter:
    """Gathers entries into batches that are worked on as arrays, and writes their notes."""

    def __init__(self, files: list[BinaryIO], step: NearDuplicatesStep, permutations: Permutations) -> None:
        self._bands, self._blocks, self._shingles, self._sizes, self._sketches, *rest = files
        self._identities = IdentityWriter(*rest)
        self._step = step
        self._permutations = permutations
        self._waiting: list[tuple[str, str]] = []
        self._characters = 0

    def add(self, identity: str, text: str) -> None:
        self._waiting.append((identity, text))
        self._characters += len(text)
        if len(self._waiting) >= _BATCH_ENTRIES or self._characters >= _BATCH_CHARACTERS:
            self.flush()

    def flush(self) -> None:
        if not self._waiting:
            return
        noted = self._step.note([text for _, text in self._waiting], self._permutations)
        self._identities.write([identity for identity, _ in self._waiting])
        self._bands.write(noted.keys.tobytes())
        self._blocks.write(np.array([len(self._waiting)], "<i8").tobytes())
        self._shingles.write(noted.shingles.tobytes())
        self._sizes.write(noted.sizes.tobytes())
        self._sketches.write(noted.sketches.tobytes())
        self._waiting.clear()
        self._characters = 0


def _read_band(folder: Path, shard: int | str, band: int, bands: int) -> Hashes:
    """The keys of one band: they lie together in every block, a block for each batch."""
    keys = mapped(note_path(folder, "bands", shard), "<u8")
    pieces, start = [np.zeros(0, np.uint64)], 0
    for size in mapped(note_path(folder, "blocks", shard), "<i8"):
        pieces.append(keys[start + band * int(size) : start + (band + 1) * int(size)])
        start += bands * int(size)
    return np.concatenate(pieces)
