"""Shards on disk: rows as JSON lines, each file complete or absent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from llmasos.data.row import Row

_BUFFER = 1 << 20


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file that appears under its name when the block has ended well, and not at all otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb", buffering=_BUFFER) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document atomically; keys keep their order."""
    with atomic_file(path) as file:
        file.write(orjson.dumps(value))


def read_json(path: Path) -> Any:
    return orjson.loads(path.read_bytes())


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a shard."""
    with path.open("rb", buffering=_BUFFER) as file:
        for line in file:
            yield Row.from_bytes(line)
