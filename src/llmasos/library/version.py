"""What the library hands out: versions, whole and as a line of the list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmasos.library.manifest import Manifest
    from llmasos.library.metadata import Metadata


@dataclass(frozen=True)
class Version:
    """An immutable artefact of the library."""

    digest: str
    manifest: Manifest = field(repr=False)
    metadata: Metadata = field(repr=False)
    names: tuple[str, ...]
    created: datetime  # when it was made, else when it came into this library
    published: datetime

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return self.manifest.size

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of its files."""
        return tuple(self.manifest.files)


@dataclass(frozen=True)
class Removal:
    """What ``remove`` did."""

    names: tuple[str, ...]
    versions: tuple[str, ...] = ()
    freed: int = 0  # bytes


@dataclass(frozen=True)
class VersionRow:
    """One line of `llmasos list`: what the catalogue knows of a version without opening its manifest."""

    digest: str
    names: tuple[str, ...]
    kind: str
    size: int  # bytes of all files
    architecture: str | None
    task_family: str | None
    parameters: int | None
    context_length: int | None
    license: str | None
    format: str | None
    precision: str | None
    quantization: str | None
    description: str | None
    base_digest: str | None
    created: datetime | None
    published: datetime

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any], names: Iterable[str]) -> VersionRow:
        """The row of the table ``versions``, with the version's names."""
        values = dict(columns)
        created = values["created"]
        values["created"] = datetime.fromisoformat(created) if created else None
        values["published"] = datetime.fromisoformat(values["published"])
        return cls(names=tuple(sorted(names)), **values)


def name_text(namespace: str, name: str, tag: str) -> str:
    """A name as the catalogue keeps it, as text; an empty namespace stands for none."""
    return f"{namespace}/{name}:{tag}" if namespace else f"{name}:{tag}"
