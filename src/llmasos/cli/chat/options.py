"""The options of ``/set``: names, values and explanations come from the model's own option class."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any

from llmasos.cli.chat.session import Session
from llmasos.errors import InvalidRequest, did_you_mean
from llmasos.i18n import t, translate

if TYPE_CHECKING:
    from llmasos.modeling.options import SamplingOptions

#: Words that put an option back to the model's default.
RESET = ("default", "reset", "unset")
_TEXTS = frozenset({"stop", "source_language", "target_language"})


#: Options whose effect a conversation cannot show.
_NOT_SHOWN = frozenset({"logprobs"})


def names(session: Session) -> list[str]:
    """Options of the session's model that mean something in a conversation."""
    return [item.name for item in fields(session.model.defaults) if item.name not in _NOT_SHOWN]


def explanation(options: SamplingOptions, name: str) -> str:
    """The text that documents the option ``name``, in the language in force."""
    for kind in type(options).__mro__:
        text = _field_texts(kind).get(name) if kind is not object else None
        if text:
            return translate(text)
    return ""


@cache
def _field_texts(kind: type) -> dict[str, str]:
    """Texts that follow the fields in the source of ``kind``; Python keeps them for readers, not at run time."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    found: dict[str, str] = {}
    previous: ast.stmt | None = None
    for statement in body.body if isinstance(body, ast.ClassDef) else []:
        if (
            isinstance(statement, ast.Expr)
            and isinstance(statement.value, ast.Constant)
            and isinstance(previous, ast.AnnAssign)
            and isinstance(previous.target, ast.Name)
        ):
            text = re.sub(r":\w+:`~?([^`]*)`", r"\1", " ".join(str(statement.value.value).split()))
            found[previous.target.id] = text.replace("``", "`")
        previous = statement
    return found


def parse(name: str, text: str) -> Any:
    """The value written as ``text``: JSON where it is JSON, else the text itself."""
    if name in _TEXTS and not text.startswith(("[", '"')):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def set_option(session: Session, name: str, text: str) -> None:
    """Set ``name`` to the value written as ``text``, or back to the default.

    Raises:
        InvalidRequest: there is no such option, or the value is not allowed.
    """
    name = name.replace("-", "_")
    known = names(session)
    if name not in known:
        raise InvalidRequest(
            t("{model} has no option {name}", model=session.model.name, name=name),
            hint=did_you_mean(name, known) or t("/set lists all options."),
        )
    if text.lower() in RESET:
        session.options.pop(name, None)
        return
    chosen = {**session.options, name: parse(name, text)}
    session.model.defaults.updated(chosen)
    session.options = chosen
