"""From a YAML file to a checked recipe."""

from __future__ import annotations

import copy
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmasos.errors import InvalidRecipe, NotFound, did_you_mean
from llmasos.i18n import t
from llmasos.recipe.document import Document, override, parse

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Recipe(BaseModel):
    """Base of all recipes: strict, and with variables that ``${name}`` stands for anywhere in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    variables: dict[str, str | int | float | bool] = Field(
        default_factory=dict,
        description="Values that ${name} stands for in this file; --set variables.name=value changes one.",
    )


_Recipe = TypeVar("_Recipe", bound=Recipe)


def load(path: Path, model: type[_Recipe], assignments: Iterable[str] = ()) -> _Recipe:
    """Read a recipe file, apply ``--set`` assignments and check it. Relative paths in it are left as they are.

    Raises:
        NotFound: there is no such file.
        InvalidRecipe: it has problems; the message lists all of them with their lines.
    """
    return check(read(path), model, assignments)


def read_given(recipe: str | Path | Mapping[str, Any]) -> tuple[Document, Path]:
    """The document that a program gives, and the folder that its relative paths start from.

    Args:
        recipe: a YAML file, or its content as a mapping, whose paths start from the current folder.

    Raises: as :func:`load`, but for what is wrong with keys.
    """
    if isinstance(recipe, Mapping):
        return Document(copy.deepcopy(dict(recipe)), t("the recipe"), {}), Path.cwd()
    return read(Path(recipe)), Path(recipe).absolute().parent


def read(path: Path) -> Document:
    """The document in a recipe file; raises as :func:`load`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFound(t("there is no file {path}", path=path), hint=t("Check the path.")) from error
    except UnicodeDecodeError as error:
        raise InvalidRecipe(
            t("{place}: not valid YAML: {problem}", place=path, problem=error.reason),
            hint=t("Save the file as UTF-8 text."),
        ) from error
    return parse(text, str(path))


def check(
    document: Document, model: type[_Recipe], assignments: Iterable[str] = (), *, hint: str | None = None
) -> _Recipe:
    """Check a document against the model of its kind; raises :class:`InvalidRecipe` with all problems.

    Args:
        hint: where the keys are described; default: `llmasos recipe show`.
    """
    override(document, assignments)
    recipe, problems = _examined(document, model)
    if recipe is None:
        raise InvalidRecipe(
            t("the recipe {name} has {count} problem(s):", name=document.name, count=len(problems))
            + "\n  "
            + "\n  ".join(problems),
            hint=hint or t("`llmasos recipe show {kind}` lists all keys.", kind=document.values.get("kind", "KIND")),
        )
    return recipe


def problems_of(document: Document, model: type[Recipe]) -> list[str]:
    """Everything that is wrong with a document, each problem with its line; empty: it is a recipe of the model."""
    return _examined(document, model)[1]


def _examined(document: Document, model: type[_Recipe]) -> tuple[_Recipe | None, list[str]]:
    problems: list[str] = []
    variables = document.values.get("variables")
    values = _substitute(document.values, variables if isinstance(variables, dict) else {}, (), document, problems)
    recipe = None
    try:
        recipe = model.model_validate(values)
    except ValidationError as error:
        problems += [_line(problem, document, model) for problem in error.errors(include_url=False)]
    return (None if problems else recipe), problems


def _substitute(
    value: Any, variables: Mapping[str, Any], path: tuple[str | int, ...], document: Document, problems: list[str]
) -> Any:
    if isinstance(value, dict):
        return {
            key: item if path == () and key == "variables"
            else _substitute(item, variables, (*path, key), document, problems)
            for key, item in value.items()
        }  # fmt: skip
    if isinstance(value, list):
        return [_substitute(item, variables, (*path, index), document, problems) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replacement(match: re.Match[str]) -> str:
        if match[1] in variables:
            return str(variables[match[1]])
        near = did_you_mean(match[1], list(variables))
        problem = t("{place}: there is no variable {name!r}", place=document.place(path), name=match[1])
        problems.append(problem + (f" ({near})" if near else ""))
        return match[0]

    return _VARIABLE.sub(replacement, value)


def _line(problem: Any, document: Document, model: type[BaseModel]) -> str:
    location: tuple[str | int, ...] = problem["loc"]
    place = document.place(location)
    where = ".".join(str(part) for part in location) or "."
    if problem["type"] == "extra_forbidden":
        near = did_you_mean(str(location[-1]), sorted(keys_at(model, location[:-1])))
        return t("{place}: {where}: unknown key", place=place, where=where) + (f" ({near})" if near else "")
    if problem["type"] == "missing":
        return t("{place}: {where}: this key is needed", place=place, where=where)
    if problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return _tag_problem(problem, place, where)
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{place}: {where} = {problem['input']!r}: {message}"


def _tag_problem(problem: Any, place: str, where: str) -> str:
    context = problem.get("ctx", {})
    key = str(context.get("discriminator", "")).strip("'")
    if problem["type"] == "union_tag_not_found":
        return t("{place}: {where}: this key is needed", place=place, where=f"{where}.{key}")
    allowed = [item.strip(" '") for item in str(context.get("expected_tags", "")).split(",")]
    near = did_you_mean(str(context.get("tag")), allowed)
    text = t(
        "{place}: {where}: {key} = {value!r} is not allowed",
        place=place, where=where, key=key, value=str(context.get("tag")),
    )  # fmt: skip
    return f"{text} ({near or ', '.join(allowed)})"


def keys_at(annotation: Any, path: Sequence[str | int]) -> set[str]:
    """The keys that a mapping at ``path`` may have, the path as pydantic writes it (with tags of unions)."""
    models = list(_models(annotation))
    if not path:
        return {name for item in models for name in item.model_fields}
    first, rest = path[0], path[1:]
    found: set[str] = set()
    for item in models:
        if isinstance(first, str) and first in item.model_fields:
            found |= keys_at(item.model_fields[first].annotation, rest)
        elif first in _tags(item):
            found |= keys_at(item, rest)
    bare = _bare(annotation)
    if typing.get_origin(bare) in (Union, types.UnionType):
        containers = [member for member in typing.get_args(bare) if not list(_models(member))]
        return found.union(*(keys_at(member, path) for member in containers))
    if typing.get_origin(bare) in (tuple, list, dict):
        return found.union(*(keys_at(member, rest) for member in typing.get_args(bare)))
    return found


def _bare(annotation: Any) -> Any:
    return _bare(typing.get_args(annotation)[0]) if typing.get_origin(annotation) is Annotated else annotation


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a value with this annotation may be, without looking into containers."""
    annotation = _bare(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif typing.get_origin(annotation) in (Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _models(member)


def _tags(model: type[BaseModel]) -> set[object]:
    """The values of the literal fields of a model, one of which is its tag in a union."""
    return {
        value
        for field in model.model_fields.values()
        if typing.get_origin(field.annotation) is Literal
        for value in typing.get_args(field.annotation)
    }
