"""Files in which a corpus step keeps what it needs of the rows of a shard, read back without holding them in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

OTHER = "other"
"""Stands in place of a shard's number for the data that are compared with."""


def note_path(folder: Path, name: str, shard: int | str) -> Path:
    """The file of one kind of note of one shard."""
    return folder / f"{name}-{shard if isinstance(shard, str) else f'{shard:05d}'}.bin"


def shard_names(folder: Path, shards: int) -> list[int | str]:
    """The shards in the order of their rows; other data come first, for what is in them wins."""
    return [*([OTHER] if note_path(folder, "ids", OTHER).exists() else []), *range(shards)]


@contextmanager
def writing(folder: Path, shard: int | str, names: Sequence[str]) -> Iterator[list[BinaryIO]]:
    """Open the notes of a shard for writing; they get their names when all are complete."""
    folder.mkdir(parents=True, exist_ok=True)
    finals = [note_path(folder, name, shard) for name in names]
    drafts = [path.with_suffix(f".{os.getpid()}.part") for path in finals]
    try:
        with ExitStack() as stack:
            yield [stack.enter_context(draft.open("wb")) for draft in drafts]
        for draft, final in zip(drafts, finals, strict=True):
            draft.replace(final)
    finally:
        for draft in drafts:
            draft.unlink(missing_ok=True)


def save_array(path: Path, values: Array) -> None:
    """Write an array so that the file is either complete or not there."""
    draft = path.with_suffix(f".{os.getpid()}.part")
    try:
        with draft.open("wb") as file:
            np.save(file, values)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def mapped(path: Path, kind: Any) -> Array:
    """A file of numbers as an array that is read from the disk where it is used."""
    if path.stat().st_size == 0:
        return np.zeros(0, kind)
    return np.memmap(path, kind, "r")


class Identities:
    """The ids of all entries, by number. Kept in files because they are needed for duplicates only."""

    def __init__(self, folder: Path, shards: Sequence[int | str]) -> None:
        self._texts = [mapped(note_path(folder, "ids", shard), np.uint8) for shard in shards]
        self._ends = [mapped(note_path(folder, "id-ends", shard), np.int64) for shard in shards]
        self.first = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(ends) for ends in self._ends])])

    def __len__(self) -> int:
        return int(self.first[-1])

    def __getitem__(self, number: int) -> str:
        shard = int(np.searchsorted(self.first, number, side="right")) - 1
        place = number - int(self.first[shard])
        ends = self._ends[shard]
        start = int(ends[place - 1]) if place else 0
        return bytes(self._texts[shard][start : int(ends[place])]).decode("utf-8", "surrogatepass")


class IdentityWriter:
    """Writes the ids of a shard."""

    NAMES = ("ids", "id-ends")

    def __init__(self, texts: BinaryIO, ends: BinaryIO) -> None:
        self._texts = texts
        self._ends = ends
        self._position = 0

    def write(self, identities: Sequence[str]) -> None:
        ends = np.empty(len(identities), np.int64)
        for index, identity in enumerate(identities):
            encoded = identity.encode("utf-8", "surrogatepass")
            self._texts.write(encoded)
            self._position += len(encoded)
            ends[index] = self._position
        self._ends.write(ends.tobytes())
