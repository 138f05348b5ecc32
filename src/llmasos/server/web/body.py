"""Bodies of requests: size, JSON, strict fields. Nothing that a client sends is ignored without a word."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request

from llmasos.errors import InvalidRequest, RequestTooLarge, did_you_mean
from llmasos.i18n import t, translate
from llmasos.units import format_bytes

WARNING_HEADER = "x-llmasos-warning"
_LONGEST_VALUE = 80


class Fields(BaseModel):
    """A request of an API. Unknown fields are refused, values are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    NOT_SUPPORTED: ClassVar[Mapping[str, str]] = {}
    """Fields that the API knows and this server does not do, with the reason or what to use instead."""


class InvalidField(InvalidRequest):
    """Fields of a request are not allowed; carries the path of the first."""

    def __init__(self, message: str, *, param: str | None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.param = param


_Body = TypeVar("_Body", bound=Fields)


@dataclass(frozen=True, slots=True)
class Received(Generic[_Body]):
    """A checked body."""

    fields: _Body
    ignored: tuple[str, ...] = ()
    """Fields that a lenient server left out."""

    @property
    def headers(self) -> dict[str, str]:
        """What the answer has to say about them."""
        return {WARNING_HEADER: "ignored: " + ", ".join(self.ignored)} if self.ignored else {}


async def read_bytes(request: Request, limit: int) -> bytes:
    """The body of a request.

    Raises:
        RequestTooLarge: it is larger than ``limit`` bytes; reading stops there.
    """
    declared = request.headers.get("content-length", "")
    parts: list[bytes] = []
    size = int(declared) if declared.isdigit() else 0
    if size <= limit:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > limit:
                break
            parts.append(part)
    if size > limit:
        raise RequestTooLarge(
            t("the body of the request is larger than {limit}", limit=format_bytes(limit)),
            hint=t("Send less, or start the server with a larger max_body_bytes."),
        )
    return b"".join(parts)


async def read_body(request: Request, fields: type[_Body], *, limit: int, lenient: bool) -> Received[_Body]:
    """Read, parse and check a body.

    Raises:
        RequestTooLarge: it is too large.
        InvalidField: it is not a JSON object, or fields are unknown, not supported, or not allowed: all are named.
    """
    return check_body(parse_object(await read_bytes(request, limit)), fields, lenient=lenient)


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object of a body.

    Raises:
        InvalidField: it is something else.
    """
    try:
        document = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise InvalidField(t("the body is not UTF-8: {error}", error=error), param=None) from error
    except json.JSONDecodeError as error:
        raise InvalidField(
            t("the body is not JSON: {problem} at line {line}, column {column}", problem=error.msg, line=error.lineno,
              column=error.colno),
            param=None,
        ) from error  # fmt: skip
    except RecursionError as error:
        raise InvalidField(t("the body is nested too deeply"), param=None) from error
    if not isinstance(document, dict):
        raise InvalidField(t("the body is not a JSON object"), param=None)
    if b"\\u" in raw:
        _refuse_lone_surrogates(document)
    return document


def _refuse_constant(name: str) -> Any:
    raise InvalidField(t("the body holds {name}, which JSON does not have", name=name), param=None)


def _refuse_lone_surrogates(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidField(t("the body holds half of a character (a lone surrogate)"), param=None) from error


def check_body(document: dict[str, Any], fields: type[_Body], *, lenient: bool) -> Received[_Body]:
    """A parsed body, checked against the fields of an API. Raises as :func:`read_body`."""
    ignored: list[str] = []
    lines: list[str] = []
    param: str | None = None
    for name in [name for name in document if name in fields.NOT_SUPPORTED]:
        if document[name] is None or lenient:
            if document[name] is not None:
                ignored.append(name)
            document = {key: value for key, value in document.items() if key != name}
            continue
        param = param or name
        lines.append(t("{name} is not supported: {reason}", name=name, reason=translate(fields.NOT_SUPPORTED[name])))
        document = {key: value for key, value in document.items() if key != name}
    while True:
        try:
            checked = fields.model_validate(document)
        except ValidationError as error:
            problems = error.errors(include_url=False)
            extra = [problem["loc"] for problem in problems if problem["type"] == "extra_forbidden"]
            if lenient and extra:
                document = _without(document, extra)
                ignored += [_path(place) for place in extra]
                continue
            lines += [_line(problem, fields) for problem in problems]
            param = param or _path(problems[0]["loc"])
        break
    if lines:
        message = (
            lines[0]
            if len(lines) == 1
            else t("the request has {count} problem(s):", count=len(lines)) + "".join(f"\n  {line}" for line in lines)
        )
        raise InvalidField(message, param=param or None)
    return Received(checked, tuple(ignored))


def _line(problem: Mapping[str, Any], fields: type[Fields]) -> str:
    place = problem["loc"]
    where = _path(place)
    if problem["type"] == "extra_forbidden":
        owner = _owner(place, fields)
        reason = owner.NOT_SUPPORTED.get(str(place[-1])) if owner is not None else None
        if reason is not None:
            return t("{name} is not supported: {reason}", name=where, reason=translate(reason))
        allowed = list(owner.model_fields) if owner is not None else []
        hint = did_you_mean(str(place[-1]), allowed)
        return t("{where}: unknown field", where=where) + (f" ({hint})" if hint else "")
    if problem["type"] == "missing":
        return t("{where} is missing", where=where)
    value = repr(problem.get("input"))
    if len(value) > _LONGEST_VALUE:
        value = value[:_LONGEST_VALUE] + "…"
    return f"{where} = {value}: {problem['msg']}"


def _owner(place: tuple[int | str, ...], fields: type[Fields]) -> type[Fields] | None:
    """The class of the object that holds the last part of a path; ``None`` where it cannot be told."""
    owner = fields
    for part in place[:-1]:
        names = {field.alias or name: field for name, field in owner.model_fields.items()}
        if isinstance(part, int) or part not in names:
            continue  # the place in a list, or the variant of a union
        inner = list(_classes(names[part].annotation))
        if len(inner) != 1:
            return None
        owner = inner[0]
    return owner


def _classes(annotation: Any) -> Iterator[type[Fields]]:
    if isinstance(annotation, type) and issubclass(annotation, Fields):
        yield annotation
    for argument in get_args(annotation):
        yield from _classes(argument)


def _path(place: tuple[int | str, ...]) -> str:
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isidentifier() or not text:
            text += f".{part}" if text else part
    return text


def _without(document: dict[str, Any], places: list[tuple[int | str, ...]]) -> dict[str, Any]:
    """A copy without the values at these paths."""
    copy: dict[str, Any] = json.loads(json.dumps(document))
    for place in places:
        inner: Any = copy
        for part in place[:-1]:
            # Names of the variants of a union are part of pydantic's paths and not of the document.
            if isinstance(part, int):
                inner = inner[part] if isinstance(inner, list) else inner
            elif isinstance(inner, dict) and part in inner:
                inner = inner[part]
        if isinstance(inner, dict):
            inner.pop(str(place[-1]), None)
    return copy
