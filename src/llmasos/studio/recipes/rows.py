"""A recipe as the lines of a form: which there are depends on what is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from llmasos.recipe.document import Path
from llmasos.studio.recipes.shape import Entries, Group, Kinds, Shape, Single
from llmasos.studio.recipes.yaml_text import assigned

What = Literal["field", "kind", "group", "present", "entry", "add"]


@dataclass(frozen=True)
class Row:
    """A line.

    Attributes:
        what: ``field``: a control for one value; ``kind``: the choice of a kind; ``group``: a heading; ``present``: a
            group that may be there or not; ``entry``: the heading of an entry of a list, which can be taken away;
            ``add``: makes a new entry.
        path: of the value; of the mapping for ``kind``; of the list for ``add``.
        depth: how deep it is nested.
    """

    what: What
    path: Path
    shape: Shape
    depth: int = 0

    @property
    def key(self) -> str:
        """The path as people write it."""
        return ".".join(str(part) for part in self.path)


def expanded(shape: Shape, given: Any) -> Any:
    """What is written, with short forms written out; what does not fit the shape is left as it is."""
    try:
        given = shape.expand(given)
    except ValueError:  # the check of the whole recipe tells
        return given
    if isinstance(shape, Kinds) and isinstance(given, dict):
        kind = shape.kind_of(given)
        return given if kind is None else expanded(shape.members[kind], given)
    if isinstance(shape, Group) and isinstance(given, dict):
        return {key: expanded(shape.fields[key], value) if key in shape.fields else value
                for key, value in given.items()}  # fmt: skip
    if isinstance(shape, Entries) and isinstance(given, list):
        return [expanded(shape.entry, value) for value in given]
    return given


def at(values: Any, path: Path) -> Any:
    """The value at a path, ``None`` if there is none."""
    for part in path:
        if isinstance(values, Mapping):
            values = values.get(part)
        elif isinstance(values, list) and isinstance(part, int) and part < len(values):
            values = values[part]
        else:
            return None
    return values


def holds(values: Any, path: Path) -> bool:
    """Whether something is written at a path, ``null`` included."""
    if not path:
        return True
    container = at(values, path[:-1])
    if isinstance(container, list):
        return isinstance(path[-1], int) and path[-1] < len(container)
    return isinstance(container, Mapping) and path[-1] in container


def rows(shape: Shape, values: Any, path: Path = (), depth: int = 0) -> Iterator[Row]:
    """The lines for what stands at a path, ``values`` being the whole recipe, expanded."""
    given = at(values, path)
    if isinstance(shape, Single):
        yield Row("field", path, shape, depth)
    elif isinstance(shape, Kinds):
        yield Row("kind", path, shape, depth)
        kind = shape.kind_of(given)
        if kind is not None:
            yield from _fields(shape.members[kind], values, path, depth + 1)
    elif isinstance(shape, Group):
        if shape.nullable and shape.default is None and path:
            yield Row("present", path, shape, depth)
            if given is None:
                return
        elif depth:
            yield Row("group", path, shape, depth)
        yield from _fields(shape, values, path, depth + 1 if depth else depth)
    elif isinstance(shape, Entries):
        for number in range(len(given) if isinstance(given, list) else 0):
            yield Row("entry", (*path, number), shape, depth)
            yield from (
                rows(shape.entry, values, (*path, number), depth + 1)
                if isinstance(shape.entry, Kinds)
                else _fields(shape.entry, values, (*path, number), depth + 1)
            )
        yield Row("add", path, shape, depth)


def _fields(group: Group, values: Any, path: Path, depth: int) -> Iterator[Row]:
    """Single values first, then what has parts of its own."""
    for plain in (True, False):
        for name, shape in group.fields.items():
            if isinstance(shape, Single) == plain:
                yield from rows(shape, values, (*path, name), depth if plain else max(depth, 1))


def find(shape: Shape, values: Any, path: Path) -> Shape | None:
    """The shape of a path, with the kinds that are chosen; ``None``: there is no such key now."""
    for place, part in enumerate(path):
        if isinstance(shape, Kinds):
            if part == shape.tag and place == len(path) - 1:
                return shape
            kind = shape.kind_of(at(values, path[:place]))
            if kind is None:
                return None
            shape = shape.members[kind]
        if isinstance(shape, Group) and isinstance(part, str) and part in shape.fields:
            shape = shape.fields[part]
        elif isinstance(shape, Entries) and isinstance(part, int):
            shape = shape.entry
        else:
            return None
    return shape


def changes_for(shape: Shape, raw: Any, path: Path, value: Any) -> list[tuple[Path, Any]]:
    """What must be written so that a value stands at a path.

    A short form on the way is written out, unless the new value has a short form too; a kind that would otherwise not
    be told is named.
    """
    found: list[tuple[Path, Any]] = []
    for place in range(len(path)):
        here, written = path[:place], at(raw, path[:place])
        if isinstance(shape, Kinds):
            whole = expanded(shape, written) if written is not None else {}
            if written is not None and not isinstance(written, dict):
                return [*found, (here, _short(shape, _with(whole, path[place:], value)))]
            kind = shape.kind_of(whole)
            if kind is None:
                break
            if value is not None and shape.tag not in whole and _implied(shape) != kind:
                found.append(((*here, shape.tag), kind))
            shape = shape.members[kind]
        part = path[place]
        if isinstance(shape, Group) and isinstance(part, str) and part in shape.fields:
            shape = shape.fields[part]
        elif isinstance(shape, Entries) and isinstance(part, int):
            shape = shape.entry
        else:
            break
    return [*found, (path, value)]


def _implied(shape: Kinds) -> str | None:
    """The kind that a mapping without its tag has."""
    made = shape.expand({})
    named = made.get(shape.tag) if isinstance(made, dict) else None
    return named if isinstance(named, str) else None


def _with(whole: Any, path: Path, value: Any) -> dict[str, Any]:
    return assigned(whole if isinstance(whole, dict) else {}, path, value)


def _short(shape: Kinds, mapping: dict[str, Any]) -> Any:
    """The shortest way to write a mapping of a kind."""
    for candidate in (*mapping.values(), {key: item for key, item in mapping.items() if key != shape.tag}):
        if isinstance(candidate, str | dict) and candidate and _means(shape, candidate, mapping):
            return candidate
    return mapping


def _means(shape: Kinds, candidate: Any, mapping: dict[str, Any]) -> bool:
    found = shape.expand(candidate)
    return isinstance(found, dict) and found == mapping and (found.get(shape.tag) in shape.members)


def of_kind(shape: Kinds, given: Any, kind: str | None) -> Any:
    """What is written when a kind is chosen: the keys that it shares with the one before stay."""
    if kind is None:
        return None
    whole = expanded(shape, given)
    kept = {key: item for key, item in whole.items() if key in shape.members[kind].fields} if isinstance(
        whole, dict
    ) else {}  # fmt: skip
    return _short(shape, {shape.tag: kind, **kept})
