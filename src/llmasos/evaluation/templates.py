"""Templates over the columns of a row. One that is nothing but ``{{...}}`` gives the value, any other a text.

Jinja in its sandbox: a task file may come from anybody, and must not be able to run code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmasos.errors import InvalidRecipe, UnsafeContent, did_you_mean
from llmasos.evaluation.extraction.latex import last_boxed
from llmasos.i18n import t

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def letter(number: int) -> str:
    """0 is A, 1 is B."""
    return _LETTERS[int(number)]


def number_of(text: str) -> int:
    """A is 0, B is 1; the case does not matter."""
    return _LETTERS.index(str(text).strip().upper())


def _replace(text: str, pattern: str, replacement: str = "") -> str:
    return re.sub(pattern, replacement, text)


def _find(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        return ""
    return found[1] if found.re.groups else found[0]


def _boxed(text: str) -> str:
    found = (last_boxed(text) or "").strip()
    if not found:
        raise ValueError(t("there is no box with an answer"))
    return found


def _lettered(choices: list[Any], separator: str = "\n", form: str = "{letter}. {choice}") -> str:
    return separator.join(form.format(letter=letter(index), choice=choice) for index, choice in enumerate(choices))


FILTERS: Mapping[str, Callable[..., Any]] = {
    "letter": letter,
    "number_of": number_of,
    "regex_replace": _replace,
    "regex_find": _find,
    "boxed": _boxed,
    "lettered": _lettered,
}
"""Filters beside those of Jinja."""


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    environment.filters.update(FILTERS)
    return environment


class Template:
    """A compiled template of a task.

    Args:
        source: the text.
        place: the key of the task that it stands at, for messages.

    Raises:
        InvalidRecipe: it has a syntax error.
    """

    def __init__(self, source: str, place: str) -> None:
        self.source, self.place = source, place
        environment = _environment()
        try:
            alone = source.rstrip("\n")  # blocks of YAML end with a line feed
            self._expression = _only_expression(environment.parse(alone))
            if self._expression:
                inner = alone[2:-2].strip("-").strip()
                self._evaluate = environment.compile_expression(inner, undefined_to_none=False)
            else:
                self._template = environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise InvalidRecipe(
                t("{place}: line {line} of the template: {problem}", place=place, line=error.lineno,
                  problem=error.message or ""),
                hint=t("Templates are Jinja: {example}", example="{{question}}"),
            ) from error  # fmt: skip

    def value(self, row: Mapping[str, Any]) -> Any:
        """The value for a row; of a template that is more than one expression a text.

        Raises:
            InvalidRecipe: it names a column that the row lacks, or fails on the row's values.
            UnsafeContent: it tries what the sandbox forbids.
        """
        values = {**row, "row": row}
        try:
            if not self._expression:
                return self._template.render(values)
            found = self._evaluate(values)
            if isinstance(found, jinja2.Undefined):
                str(found)  # raises, naming what is missing
            return found
        except jinja2.UndefinedError as error:
            self._unknown(error, row)
        except jinja2.exceptions.SecurityError as error:
            raise UnsafeContent(
                t("{place}: the template tried something forbidden: {problem}", place=self.place, problem=error),
                hint=t("Do not use this task; it may be hostile."),
            ) from error
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError,
                RecursionError, re.error) as error:  # fmt: skip
            raise InvalidRecipe(
                t("{place}: the template fails on a row: {problem}", place=self.place,
                  problem=f"{type(error).__name__}: {error}"),
                hint=t("The row has: {columns}.", columns=shown(row)),
            ) from error  # fmt: skip

    def text(self, row: Mapping[str, Any]) -> str:
        """The value as a text; errors as for :meth:`value`."""
        found = self.value(row)
        return found if isinstance(found, str) else str(found)

    def _unknown(self, error: jinja2.UndefinedError, row: Mapping[str, Any]) -> NoReturn:
        named = re.match(r"'(\w+)' is undefined", str(error))
        near = did_you_mean(named[1], list(row)) if named else None
        raise InvalidRecipe(
            t("{place}: {problem}", place=self.place, problem=error),
            hint=near or t("The row has: {columns}.", columns=", ".join(row)),
        ) from error


def _only_expression(tree: nodes.Template) -> bool:
    """Whether the template is one ``{{...}}`` and nothing else."""
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output):
        return False
    parts = tree.body[0].nodes
    return len(parts) == 1 and not isinstance(parts[0], nodes.TemplateData)


def shown(row: Mapping[str, Any]) -> str:
    """A row in short, for messages."""
    texts = (f"{name} = {str(value)[:40]!r}" for name, value in row.items())
    return ", ".join(texts)[:400]
