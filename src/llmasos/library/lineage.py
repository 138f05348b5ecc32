"""Lineage: what a version was made from, and what was made from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmasos.library.catalogue import LineageRow
from llmasos.library.metadata import Lineage, LineageInput

if TYPE_CHECKING:
    from llmasos.library.store import Library

__all__ = ["Lineage", "LineageInput", "LineageNode", "ancestors", "descendants"]


@dataclass
class LineageNode:
    """A version, or bytes from outside, in the tree.

    Attributes:
        digest: ``None`` if the step recorded only a name.
        role: what the neighbour towards the root used it as (going up), or what it used its neighbour as (down).
        name: a name it has now, else the one it had when the step ran.
        step: the step that made it or brought it here, ``None`` for what came from outside.
        source: where that step took it from.
        present: whether the library has it.
        repeated: it stands elsewhere in the tree with its neighbours, which are left out here.
    """

    digest: str | None
    role: str | None = None
    name: str | None = None
    step: str | None = None
    source: str | None = None
    present: bool = False
    repeated: bool = False
    nodes: list[LineageNode] = field(default_factory=list)


def ancestors(library: Library, digest: str) -> LineageNode:
    """The version and, below it, its inputs, their inputs, and so on."""
    return _Walk(library, _inputs).visit(digest, None, None)


def descendants(library: Library, digest: str) -> LineageNode:
    """The version and, below it, what was made from it, and so on."""
    return _Walk(library, _users).visit(digest, None, None)


_Neighbour = tuple[str | None, str, str | None]  # digest, role, name then


def _inputs(library: Library, digest: str) -> list[_Neighbour]:
    found: dict[_Neighbour, None] = {}
    for step in library.lineage(digest):
        for role, used, reference in step.inputs:
            found[(used, role, reference)] = None
    for row in library.catalogue.rows(digest=digest):
        if row.base_digest is not None and all(used != row.base_digest for used, _, _ in found):
            found[(row.base_digest, "base", None)] = None
    return list(found)


def _users(library: Library, digest: str) -> list[_Neighbour]:
    found: dict[_Neighbour, None] = {}
    for step in library.catalogue.lineage_using(digest):
        role = next(role for role, used, _ in step.inputs if used == digest)
        found[(step.version, role, step.name)] = None
    with library.catalogue.database.read() as connection:
        dependents = library.catalogue.dependents(digest, connection)
    for row in dependents:
        if all(user != row.digest for user, _, _ in found):
            found[(row.digest, "base", None)] = None
    return list(found)


class _Walk:
    """Follows neighbours depth first and shows each version's own neighbours once."""

    def __init__(self, library: Library, neighbours: Callable[[Library, str], list[_Neighbour]]) -> None:
        self._library = library
        self._neighbours = neighbours
        self._seen: set[str] = set()

    def visit(self, digest: str | None, role: str | None, name: str | None) -> LineageNode:
        if digest is None:
            return LineageNode(None, role, name)
        rows = self._library.catalogue.rows(digest=digest)
        steps = self._library.lineage(digest)
        node = LineageNode(
            digest,
            role,
            name=rows[0].names[0] if rows and rows[0].names else name or _name_then(steps),
            step=steps[0].step if steps else None,
            source=next((source for step in steps if (source := _source(step)) is not None), None),
            present=bool(rows),
            repeated=digest in self._seen,
        )
        if not node.repeated:
            self._seen.add(digest)
            node.nodes = [self.visit(*neighbour) for neighbour in self._neighbours(self._library, digest)]
        return node


def _name_then(steps: list[LineageRow]) -> str | None:
    return next((step.name for step in steps if step.name is not None), None)


def _source(step: LineageRow) -> str | None:
    return Lineage.model_validate_json(step.document, extra="ignore").source
