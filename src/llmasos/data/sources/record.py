"""What a reader yields: a record of a file, or something in it that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from llmasos.data.row import JsonValue


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it stands in the file; ``line`` is its line (or number) there, from 1."""

    line: int
    fields: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Broken:
    """What could not be read. It becomes a rejected row, with its bytes as far as they are text."""

    line: int
    reason: str
    detail: str
    raw: str


Item: TypeAlias = Record | Broken
Items: TypeAlias = Iterator[Item]
