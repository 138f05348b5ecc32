"""The last stage: rows of all shards into the files of the data set, in the order of the files or shuffled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmasos.data.output.config import Output
from llmasos.data.output.files import write_rows
from llmasos.data.pipeline.shard import write_json
from llmasos.data.report.statistics import Measure, MeasureConfig
from llmasos.data.row import Row

_MOST_OPEN = 128
"""Shards that are open at the same time; systems allow a few hundred files."""


@dataclass(frozen=True)
class OutputFile:
    """One file to write: the rows ``first`` to ``last`` (exclusive) of a split, in its order."""

    split: str
    code: int
    number: int
    first: int
    last: int


def plan_files(folder: Path, shards: int, splits: tuple[str, ...], output: Output) -> list[OutputFile]:
    """The files of every split, from the indices of the last stage of rows."""
    counts = np.zeros(len(splits), dtype=np.int64)
    for shard in range(shards):
        codes = np.load(folder / "index" / f"{shard:05d}.npy", mmap_mode="r")["split"]
        counts += np.bincount(codes, minlength=len(splits))
    files: list[OutputFile] = []
    for code, split in enumerate(splits):
        count = int(counts[code])
        number = -(-count // output.rows_per_file)
        edges = [count * part // number for part in range(number + 1)] if number else []
        files += [OutputFile(split, code, part, edges[part], edges[part + 1]) for part in range(number)]
    return files


@dataclass(frozen=True)
class GatherStage:
    """Writes one file of the output for each task, and measures its rows."""

    folder: Path
    before: Path
    shards: int
    files: tuple[OutputFile, ...]
    kind: str
    output: Output
    measure: MeasureConfig

    def path(self, task: int) -> Path:
        file = self.files[task]
        return self.folder / "data" / f"{file.split}-{file.number:05d}.{self.output.format}"

    def run_shard(self, task: int) -> None:
        measure = Measure(self.measure)
        write_rows(self.path(task), measure.watch(self._rows(self.files[task])), self.kind, self.output.format)
        write_json(self.folder / "statistics" / f"{task:05d}.json", measure.conclude())

    def _rows(self, file: OutputFile) -> Iterator[Row]:
        if not self.output.shuffle:
            yield from self._in_order(file)
            return
        with ExitStack() as stack:
            opened: dict[int, Any] = {}
            for shard, offset, length in self._shuffled(file):
                if shard not in opened:
                    if len(opened) >= _MOST_OPEN:
                        opened.pop(next(iter(opened))).close()
                    opened[shard] = stack.enter_context((self.before / "rows" / f"{shard:05d}.jsonl").open("rb"))
                opened[shard].seek(offset)
                yield Row.from_bytes(opened[shard].read(length))

    def _index(self, shard: int) -> Any:
        return np.load(self.before / "index" / f"{shard:05d}.npy", mmap_mode="r")

    def _in_order(self, file: OutputFile) -> Iterator[Row]:
        position = 0
        for shard in range(self.shards):
            index = self._index(shard)
            mine = np.flatnonzero(index["split"] == file.code)
            start, stop = max(file.first - position, 0), min(file.last - position, len(mine))
            position += len(mine)
            if start >= stop:
                continue
            with (self.before / "rows" / f"{shard:05d}.jsonl").open("rb") as rows:
                for entry in index[mine[start:stop]]:
                    rows.seek(int(entry["offset"]))
                    yield Row.from_bytes(rows.read(int(entry["length"])))

    def _shuffled(self, file: OutputFile) -> Iterator[tuple[int, int, int]]:
        """(shard, offset, length) of the rows whose keys have the ranks of the file, in the order of the keys."""
        keys, shards, positions = [], [], []
        for shard in range(self.shards):
            index = self._index(shard)
            mine = np.flatnonzero(index["split"] == file.code)
            keys.append(index["key"][mine])
            shards.append(np.full(len(mine), shard, dtype=np.uint32))
            positions.append(mine.astype(np.uint32))
        order = np.argsort(np.concatenate(keys), kind="stable")[file.first : file.last]
        shard_of, position_of = np.concatenate(shards)[order], np.concatenate(positions)[order]
        indices = {int(shard): self._index(int(shard)) for shard in np.unique(shard_of)}
        for shard, position in zip(shard_of, position_of, strict=True):
            entry = indices[int(shard)][position]
            yield int(shard), int(entry["offset"]), int(entry["length"])
