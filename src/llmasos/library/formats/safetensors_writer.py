"""Writing safetensors files tensor by tensor.

The ``safetensors`` package writes a file from tensors that are all in memory at once. Here they come one after the
other, so that a model needs no more memory than its largest piece. The layout is described in
:mod:`llmasos.library.safetensors_header`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from llmasos.library.disk import full_disk_as_error, require_space
from llmasos.library.formats.json_file import write_json
from llmasos.library.safetensors_header import BITS

SHARD_BYTES = 4 * 10**9


@dataclass(frozen=True, slots=True)
class Planned:
    """A tensor that is going to be written. ``dtype`` may become wider until it is."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    def size(self, dtype: str | None = None) -> int:
        """Its bytes."""
        count = BITS[dtype or self.dtype] // 8
        for length in self.shape:
            count *= length
        return count


class TensorSlot:
    """Where one tensor is written to, piece by piece."""

    def __init__(self, file: BinaryIO, planned: Planned) -> None:
        self._file = file
        self._start = file.tell()
        self.planned = planned
        self.dtype = planned.dtype

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes, little-endian, row-major."""
        self._file.write(data)

    def restart(self, dtype: str) -> None:
        """Throw away what was written and begin again with another dtype."""
        self._file.seek(self._start)
        self._file.truncate()
        self.dtype = dtype

    def finish(self) -> dict[str, Any]:
        """The header entry, without its place."""
        written = self._file.tell() - self._start
        expected = self.planned.size(self.dtype)
        if written != expected:
            raise AssertionError(f"{self.planned.name}: {written} bytes written, {expected} planned")
        return {"dtype": self.dtype, "shape": list(self.planned.shape)}


class SafetensorsWriter:
    """Writes ``model.safetensors``, or several shards and their index, from tensors that come one at a time."""

    def __init__(
        self,
        destination: Path,
        plan: Sequence[Planned],
        *,
        metadata: Mapping[str, str] | None = None,
        shard_bytes: int = SHARD_BYTES,
        stem: str = "model",
    ) -> None:
        self._destination = destination
        self._metadata = {"format": "pt", **(metadata or {})}
        self._shards = _split(_aligned(plan), shard_bytes)
        self._stem = stem
        self.size = sum(item.size() for item in plan)
        require_space(destination, self.size)

    def write(self, fill: Callable[[TensorSlot], None]) -> None:
        """Write all files; ``fill`` is called once per planned tensor and writes its bytes.

        Raises:
            OutOfDisk: the disk became full, and whatever ``fill`` raises. The files are of no use then.
        """
        weight_map: dict[str, str] = {}
        total = 0
        for number, shard in enumerate(self._shards, 1):
            name = self._file_name(number)
            with (
                full_disk_as_error(self._destination, self.size),
                _open_shard(self._destination / name, shard, self._metadata) as (file, entries),
            ):
                for planned in shard:
                    slot = TensorSlot(file, planned)
                    fill(slot)
                    entries[planned.name] = slot.finish()
                    weight_map[planned.name] = name
                    total += planned.size(slot.dtype)
        if len(self._shards) > 1:
            write_json(
                self._destination / f"{self._stem}.safetensors.index.json",
                {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))},
                indent=2,
            )

    def _file_name(self, number: int) -> str:
        if len(self._shards) == 1:
            return f"{self._stem}.safetensors"
        return f"{self._stem}-{number:05d}-of-{len(self._shards):05d}.safetensors"


def _aligned(plan: Iterable[Planned]) -> list[Planned]:
    """Wide types first, so that every tensor begins at a multiple of its element's size, as readers like it."""
    return sorted(plan, key=lambda item: -BITS[item.dtype])


def _split(plan: Sequence[Planned], shard_bytes: int) -> list[list[Planned]]:
    shards: list[list[Planned]] = [[]]
    size = 0
    for planned in plan:
        if shards[-1] and size + planned.size() > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(planned)
        size += planned.size()
    return shards


@contextmanager
def _open_shard(
    path: Path, shard: Sequence[Planned], metadata: Mapping[str, str]
) -> Iterator[tuple[BinaryIO, dict[str, Any]]]:
    """Reserve room for the header, hand out the file, and write the header when the sizes are certain."""
    widest = [Planned(item.name, "F64", item.shape) for item in shard]
    worst: dict[str, Any] = {item.name: {"dtype": "F8_E4M3FNUZ", "shape": list(item.shape)} for item in widest}
    room = len(_header(worst, metadata, {item.name: item.size() for item in widest}))
    room += -(8 + room) % 64
    entries: dict[str, Any] = {}
    with path.open("wb") as file:
        file.write(room.to_bytes(8, "little") + b" " * room)
        yield file, entries
        sizes = {item.name: item.size(entries[item.name]["dtype"]) for item in shard}
        header = _header(entries, metadata, sizes)
        file.seek(8)
        file.write(header + b" " * (room - len(header)))


def _header(entries: Mapping[str, Any], metadata: Mapping[str, str], sizes: Mapping[str, int]) -> bytes:
    document: dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, entry in entries.items():
        document[name] = {**entry, "data_offsets": [offset, offset + sizes[name]]}
        offset += sizes[name]
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
