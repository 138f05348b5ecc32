"""The data sets of the library, and their rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos.data.row import Row
from llmasos.data.sources.config import LibrarySource
from llmasos.data.sources.planning import make_plan
from llmasos.data.sources.rows import planned_rows
from llmasos.library.kind import Kind

if TYPE_CHECKING:
    from llmasos.library.store import Library


@dataclass(frozen=True)
class DataSetRow:
    """One data set. ``rows`` is unknown (``None``) for a data set that was not prepared here."""

    name: str
    digest: str
    kind: str | None
    rows: int | None
    splits: dict[str, int]
    size: int


def data_sets(library: Library) -> list[DataSetRow]:
    """All data sets of the library, the newest first."""
    found = []
    for row in library.versions(kind=Kind.DATASET.value):
        metadata = library.version(row.digest).metadata
        counts = {name: value for name, value in metadata.metrics.items() if isinstance(value, int)}
        found.append(
            DataSetRow(
                name=row.names[0] if row.names else row.digest,
                digest=row.digest,
                kind=metadata.format.partition("/")[2] or None if metadata.format else None,
                rows=counts.get("rows"),
                splits={
                    name.removeprefix("rows_"): value
                    for name, value in counts.items()
                    if name.startswith("rows_") and name not in ("rows_read", "rows_rejected")
                },
                size=row.size,
            )
        )
    return found


def read_split(reference: str, split: str = "train") -> Iterator[Row]:
    """The rows of one split of a data set of the library, in their order.

    Raises:
        NotFound: the library has no such data set, or it has no such split.
        Unsupported: the artefact is no data set.
    """
    source = LibrarySource(reference=reference, split=split)
    plan = make_plan([source], Path(), shard_bytes=1 << 40)
    for row in planned_rows(plan):
        if isinstance(row, Row):
            yield row
