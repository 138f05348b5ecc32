"""What a recipe's model lets one write, as a form needs to know it."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from llmasos.i18n import translate

Value = Literal["choice", "several", "switch", "number", "text", "texts", "yaml"]


@dataclass(frozen=True)
class Shape:
    """What may stand at a place.

    Attributes:
        description: in English; see :attr:`help`.
        default: what holds where nothing is written; ``None``: nothing does.
        required: whether something must be written.
        nullable: whether ``null`` may be written.
        expand: short forms, such as a name for a model, as the mapping that they stand for.
    """

    description: str = ""
    default: Any = None
    required: bool = False
    nullable: bool = False
    expand: Callable[[Any], Any] = field(default=lambda given: given, compare=False)

    @property
    def help(self) -> str:
        """The description in the language in force."""
        return translate(self.description) if self.description else ""


@dataclass(frozen=True)
class Single(Shape):
    """One value that a control can hold.

    Attributes:
        control: which one.
        choices: for ``choice`` and ``several`` all values; for ``texts`` words that stand for themselves.
        lonely: for ``texts``: whether one text may be written without a list.
    """

    control: Value = "text"
    choices: tuple[Any, ...] = ()
    lonely: bool = False


@dataclass(frozen=True)
class Group(Shape):
    """A mapping with known keys."""

    fields: Mapping[str, Shape] = field(default_factory=dict)


@dataclass(frozen=True)
class Kinds(Shape):
    """A mapping of one of several kinds, which its key ``tag`` tells."""

    tag: str = "kind"
    members: Mapping[str, Group] = field(default_factory=dict)
    usual: str | None = None
    """The kind that holds where none is written."""

    def kind_of(self, given: Any) -> str | None:
        """The kind of a value that was expanded."""
        named = given.get(self.tag) if isinstance(given, dict) else None
        return named if isinstance(named, str) and named in self.members else self.usual


@dataclass(frozen=True)
class Entries(Shape):
    """A list of mappings."""

    entry: Group | Kinds = field(default_factory=Group)


@cache
def shape_of(model: type[BaseModel]) -> Group:
    """Of a whole recipe."""
    return _group(model)


def _group(model: type[BaseModel], about: Shape | None = None) -> Group:
    about = about or Shape(description=_first_sentences(model))
    fields = {name: _field(info) for name, info in model.model_fields.items() if tag_of(info) is None}
    return Group(about.description, about.default, about.required, about.nullable, about.expand, fields)


def tag_of(info: FieldInfo) -> str | None:
    """The value of a field that can have only one."""
    values = typing.get_args(info.annotation) if typing.get_origin(info.annotation) is Literal else ()
    return str(values[0]) if len(values) == 1 and isinstance(values[0], str) else None


def _first_sentences(model: type[BaseModel]) -> str:
    return inspect.cleandoc(model.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def _field(info: FieldInfo) -> Shape:
    default = None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})
    about = Shape(str(info.description or ""), default, info.is_required())
    return _shape(info.annotation, tuple(info.metadata), about)


def _shape(annotation: Any, metadata: tuple[Any, ...], about: Shape) -> Shape:
    while typing.get_origin(annotation) is Annotated:
        annotation, *further = typing.get_args(annotation)
        metadata = (*further, *metadata)
    about = Shape(about.description, about.default, about.required, about.nullable, _expansion(metadata, about.expand))
    members = [annotation]
    if typing.get_origin(annotation) in (Union, types.UnionType):
        members = list(typing.get_args(annotation))
    if type(None) in members:
        members.remove(type(None))
        about = Shape(about.description, about.default, about.required, True, about.expand)
        if len(members) == 1:
            return _shape(members[0], metadata, about)
    if len(members) > 1 and all(_is_model(member) for member in members):
        return _kinds(members, about)
    if len(members) == 1:
        return _one(members[0], about)
    return _several(members, about)


def _expansion(metadata: tuple[Any, ...], inner: Callable[[Any], Any]) -> Callable[[Any], Any]:
    # The last validator of an annotation sees the value first.
    validators = [item.func for item in metadata if isinstance(item, BeforeValidator)]
    if not validators:
        return inner

    def expand(given: Any) -> Any:
        for validator in reversed(validators):
            given = validator(given)  # type: ignore[call-arg]  # ours take the value alone
        return given

    return expand


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _kinds(members: list[Any], about: Shape) -> Kinds:
    first: type[BaseModel] = members[0]
    key = next(name for name, info in first.model_fields.items() if tag_of(info) is not None)
    groups = {str(tag_of(member.model_fields[key])): _group(member) for member in members}
    implied = about.expand({})
    usual = getattr(about.default, key, None) or (implied.get(key) if isinstance(implied, dict) else None)
    if about.nullable and about.default is None:
        usual = None
    return Kinds(
        about.description, about.default, about.required, about.nullable, about.expand, key, groups,
        usual if usual in groups else None,
    )  # fmt: skip


def _one(annotation: Any, about: Shape) -> Shape:
    common = (about.description, about.default, about.required, about.nullable, about.expand)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if _is_model(annotation):
        return _group(annotation, about)
    if origin is Literal:
        return Single(*common, "choice", tuple(arguments))
    if annotation is bool:
        return Single(*common, "switch")
    if annotation in (int, float):
        return Single(*common, "number")
    if origin in (tuple, list):
        inner = _shape(arguments[0], (), Shape())
        if isinstance(inner, Group | Kinds):
            return Entries(*common, inner)
        if isinstance(inner, Single) and inner.control == "text":
            return Single(*common, "texts")
        if isinstance(inner, Single) and inner.control == "choice":
            return Single(*common, "several", inner.choices)
    if annotation is str or (isinstance(annotation, type) and annotation.__module__ in ("pathlib", "datetime")):
        return Single(*common, "text")
    return Single(*common, "yaml")


def _several(members: list[Any], about: Shape) -> Shape:
    """A text or several texts, or words that stand for themselves; anything else is written as YAML."""
    common = (about.description, about.default, about.required, about.nullable, about.expand)
    words: tuple[Any, ...] = ()
    lists = False
    for member in members:
        if typing.get_origin(member) is Literal:
            words = typing.get_args(member)
        elif typing.get_origin(member) in (tuple, list) and typing.get_args(member)[0] is str:
            lists = True
        elif member is not str:
            return Single(*common, "yaml")
    return Single(*common, "texts", words, str in members) if lists else Single(*common, "yaml")
