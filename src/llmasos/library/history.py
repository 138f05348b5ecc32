"""All versions that a name has had here: those that its tags point at, and older ones that have lost their tag."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmasos.library.reference import Reference

if TYPE_CHECKING:
    from llmasos.library.store import Library
    from llmasos.library.version import VersionRow


@dataclass(frozen=True)
class NamedVersion:
    """A version and its tags under one name.

    Attributes:
        tags: those that point at it now.
        former: those it was published under and that point elsewhere, or nowhere, now.
    """

    row: VersionRow
    tags: tuple[str, ...]
    former: tuple[str, ...]


def versions_of(library: Library, name: str) -> list[NamedVersion]:
    """The versions of a name, whatever their tags, the newest first.

    A version that has lost all its tags stays until garbage collection removes it; its history still tells what it was
    called.

    Args:
        name: a reference; its tag and digest do not matter.

    Raises:
        InvalidReference: it is not a name.
    """
    repository = Reference.parse(name).repository
    recorded = library.catalogue.recorded_names(repository)
    found = []
    for row in library.versions():
        tags = _tags(row.names, repository)
        former = tuple(tag for tag in _tags(recorded.get(row.digest, ()), repository) if tag not in tags)
        if tags or former:
            found.append(NamedVersion(row, tags, former))
    return found


def _tags(names: tuple[str, ...], repository: str) -> tuple[str, ...]:
    split = (name.partition(":") for name in names)
    return tuple(tag for own, _, tag in split if own == repository)
