"""A YAML document that remembers the line of every value, so that an error can say where it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from llmasos.errors import InvalidRecipe
from llmasos.i18n import t

Path = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """The safe loader, but a key that stands twice is an error: YAML libraries silently keep the last."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, str | int) and key in seen:
            raise yaml.MarkedYAMLError(
                problem=t("the key {key!r} stands twice", key=key), problem_mark=key_node.start_mark
            )
        if isinstance(key, str | int):
            seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


@dataclass
class Document:
    """The values of a recipe and where they stand.

    Attributes:
        values: the mapping.
        name: the file, for messages.
        lines: the line of each value by its path, counted from 1.
    """

    values: dict[str, Any]
    name: str
    lines: dict[Path, int]

    def line_of(self, path: Sequence[str | int]) -> int | None:
        """The line of the innermost value on ``path`` that is written in the file.

        Parts of the path that the file does not have, such as the tag of a union, are left out.
        """
        known: Path = ()
        for part in path:
            if (*known, part) in self.lines:
                known = (*known, part)
        return self.lines.get(known)

    def place(self, path: Sequence[str | int]) -> str:
        """``file:line`` of a value."""
        line = self.line_of(path)
        return f"{self.name}:{line}" if line is not None else self.name


def parse(text: str, name: str) -> Document:
    """Read YAML.

    Raises:
        InvalidRecipe: it is not YAML, not a mapping, or a key stands twice.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
        values = yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise InvalidRecipe(
            t("{place}: not valid YAML: {problem}", place=f"{name}:{line}", problem=error.problem),
            hint=t("Indent with spaces, and quote texts that hold ': ' or begin with a special character."),
        ) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidRecipe(
            t("{place}: not valid YAML: {problem}", place=name, problem=str(error).splitlines()[0]),
            hint=t("Save the file as UTF-8 text."),
        ) from error
    if not isinstance(values, dict):
        raise InvalidRecipe(
            t("{place}: a recipe is a mapping of keys to values", place=name),
            hint=t("`llmasos recipe new data` writes one to start from."),
        )
    lines: dict[Path, int] = {}
    if node is not None:
        _note_lines(node, (), lines)
    return Document(values, name, lines)


def _note_lines(node: yaml.Node, path: Path, lines: dict[Path, int]) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                lines[(*path, key.value)] = key.start_mark.line + 1
                _note_lines(value, (*path, key.value), lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note_lines(value, (*path, index), lines)


def override(document: Document, assignments: Iterable[str]) -> None:
    """Apply ``--set a.b.0.c=value``; values are YAML, so ``3``, ``true`` and ``[a, b]`` mean what they look like.

    Raises:
        InvalidRecipe: an assignment has no ``=``, or its path leads through a value that is no mapping or list.
    """
    for assignment in assignments:
        target, equals, text = assignment.partition("=")
        parts = target.strip().split(".")
        if not equals or not all(parts):
            raise InvalidRecipe(
                t("--set {assignment}: there is no key and value", assignment=assignment),
                hint=t("Write --set key=value, or --set outer.inner=value."),
            )
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        container: Any = document.values
        for part in parts[:-1]:
            container = _enter(container, part, assignment)
        _assign(container, parts[-1], value, assignment)


def _enter(container: Any, part: str, assignment: str) -> Any:
    if isinstance(container, dict):
        return container.setdefault(part, {})
    if isinstance(container, list) and part.isdecimal() and int(part) < len(container):
        return container[int(part)]
    raise _no_such_path(part, assignment)


def _assign(container: Any, part: str, value: Any, assignment: str) -> None:
    if isinstance(container, dict):
        container[part] = value
    elif isinstance(container, list) and part.isdecimal() and int(part) < len(container):
        container[int(part)] = value
    else:
        raise _no_such_path(part, assignment)


def _no_such_path(part: str, assignment: str) -> InvalidRecipe:
    return InvalidRecipe(
        t("--set {assignment}: the recipe has nothing at {part!r}", assignment=assignment, part=part),
        hint=t("Entries of lists are named by their number, from 0: --set sources.0.path=data.jsonl"),
    )
