"""What the keys of a recipe mean, from its model."""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from llmasos.i18n import translate


@dataclass(frozen=True)
class Key:
    """One key. ``path`` has ``[]`` for entries of lists, ``NAME`` for keys of mappings, and the tag of a union's member
    as ``[step=exact]``."""

    path: str
    default: str
    description: str


def explain(model: type[BaseModel], prefix: str = "") -> Iterator[Key]:
    """All keys of a model and of the models in it, in the order in which they are declared."""
    for name, field in model.model_fields.items():
        if _tag_of(field) is not None and prefix:
            continue
        path = f"{prefix}{name}"
        yield Key(path, _default(field), translate(str(field.description or "")))
        yield from _inner(field.annotation, path)


def _inner(annotation: Any, path: str) -> Iterator[Key]:
    while typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        tag = next(((name, tag) for name, field in annotation.model_fields.items() if (tag := _tag_of(field))), None)
        place = f"{path}[{tag[0]}={tag[1]}]" if tag is not None else path
        if tag is not None:
            yield Key(
                place, "", translate(inspect.cleandoc(annotation.__doc__ or "").split("\n\n")[0].replace("\n", " "))
            )
        yield from explain(annotation, f"{place}.")
    elif typing.get_origin(annotation) in (Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _inner(member, path)
    elif typing.get_origin(annotation) in (tuple, list):
        yield from _inner(typing.get_args(annotation)[0], f"{path}[]")
    elif typing.get_origin(annotation) is dict:
        yield from _inner(typing.get_args(annotation)[1], f"{path}.NAME")


def _tag_of(field: FieldInfo) -> str | None:
    """The value of a field that can have only one."""
    values = typing.get_args(field.annotation) if typing.get_origin(field.annotation) is Literal else ()
    return str(values[0]) if len(values) == 1 and isinstance(values[0], str) else None


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or isinstance(value, BaseModel) or value in ((), {}, []):
        return ""
    return json.dumps(value, ensure_ascii=False, default=str) if not isinstance(value, str) else value
