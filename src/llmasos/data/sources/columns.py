"""How a recipe names parts of a record: a path (``a.b.0``) or a template (``Translate: {en}``)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from llmasos.data.row import JsonValue

_HOLE = re.compile(r"\{([^{}]+)\}")
_MISSING = object()


class MissingColumn(Exception):  # noqa: N818 - it says what is the case; never shown to people
    """A record has nothing at a path."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class NotText(Exception):  # noqa: N818
    """What stands at a path is no text and has no plain text form."""

    def __init__(self, path: str, value: JsonValue) -> None:
        super().__init__(path)
        self.path = path
        self.value = value


def value_at(fields: Mapping[str, JsonValue], path: str) -> JsonValue:
    """The value at a path. A column whose own name has dots wins over the path.

    Raises:
        MissingColumn: there is none, or it is null.
    """
    value: JsonValue = fields.get(path, _MISSING)
    if value is _MISSING:
        value = fields
        for part in _parts(path):
            value = _step(value, part)
    if value is _MISSING or value is None:
        raise MissingColumn(path)
    return value


@lru_cache(maxsize=1024)
def _parts(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))


def _step(value: JsonValue, part: str) -> JsonValue:
    if isinstance(value, Mapping):
        return value.get(part, _MISSING)
    if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
        return value[int(part)]
    return _MISSING


def text_of(value: JsonValue, path: str, join: str) -> str:
    """A value as text: numbers as they are written in JSON, lists of texts joined.

    Raises:
        NotText: it is an object or a list of other things.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return join.join(value)
    raise NotText(path, value)


@lru_cache(maxsize=1024)
def _template(expression: str) -> tuple[str, ...] | None:
    """Text, path, text, path, ..., text; ``None`` for a plain path."""
    parts = _HOLE.split(expression)
    return tuple(parts) if len(parts) > 1 else None


def columns_of(expressions: Sequence[str]) -> set[str]:
    """The top-level columns that expressions use."""
    paths = [path for item in expressions for path in (_template(item) or ("", item))[1::2]]
    return {path.split(".")[0] for path in paths} | set(paths)


def evaluate(fields: Mapping[str, JsonValue], expression: str, join: str = " ") -> str:
    """The text that a path or template means for a record.

    Raises:
        MissingColumn, NotText: as above.
    """
    parts = _template(expression)
    if parts is None:
        return text_of(value_at(fields, expression), expression, join)
    return "".join(
        text_of(value_at(fields, part), part, join) if index % 2 else part for index, part in enumerate(parts)
    )
