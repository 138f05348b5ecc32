"""Fields that the requests of Ollama's API share, and what they mean."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import Field, JsonValue

from llmasos.engine.request import Grammar
from llmasos.i18n import t
from llmasos.server.ollama.options import OptionFields
from llmasos.server.serving.job import Message
from llmasos.server.web.body import Fields, InvalidField

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")
FOR_EVER = -1.0


class InferenceFields(Fields):
    """What every request for text has."""

    model: str = Field(description="Name of a model, an adapter, or BASE+ADAPTER; without a tag it means :latest.")
    stream: bool | None = Field(None, description="false: one answer; true, and by default: lines of JSON.")
    options: OptionFields | None = None
    format: str | dict[str, JsonValue] | None = Field(None, description='"json", or a JSON schema of the answer.')
    keep_alive: float | str | None = Field(
        None, description="How long the model stays loaded: seconds, or 5m; below 0 for ever; 0 not at all."
    )
    think: bool | str | None = Field(
        None, description="Whether the model thinks first, or how much: low, medium, high, where it knows levels."
    )
    logprobs: bool | None = Field(None, description="Give the log-probability of every token.")
    top_logprobs: int | None = Field(None, ge=0, le=20, description="Likeliest tokens given with each.")

    @property
    def streams(self) -> bool:
        return self.stream is not False

    def sampling(self) -> dict[str, Any]:
        """By the engine's names.

        Raises:
            InvalidField: fields contradict each other, or a value is not allowed.
        """
        options = self.options.sampling() if self.options is not None else {}
        if self.top_logprobs and not self.logprobs:
            raise InvalidField(t("top_logprobs needs logprobs: true"), param="top_logprobs")
        if self.logprobs:
            options["logprobs"] = self.top_logprobs or 0
        return options

    @property
    def context_limit(self) -> int | None:
        return self.options.num_ctx if self.options is not None else None


class FunctionDefinition(Fields):
    """A function that the model may call."""

    name: str
    description: str | None = None
    parameters: dict[str, JsonValue] | None = Field(None, description="JSON schema of the arguments.")


class ToolDefinition(Fields):
    """A tool."""

    type: Literal["function"] = "function"
    function: FunctionDefinition


class FunctionCall(Fields):
    """What a tool was called with."""

    name: str
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    index: int | None = Field(None, ge=0, description="Its place among the calls, which is their order anyway.")


class ToolCallField(Fields):
    """A call that the assistant made."""

    function: FunctionCall
    id: str | None = None
    type: Literal["function"] | None = None


class ChatMessage(Fields):
    """A message of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = Field(None, description="Must be empty: the models here read text.")
    tool_calls: list[ToolCallField] | None = None
    tool_name: str | None = Field(None, description="Which tool gave this result.")
    tool_call_id: str | None = None


def tools_of(fields: Sequence[ToolDefinition] | None) -> list[dict[str, Any]]:
    """In OpenAI's form."""
    return [tool.model_dump(exclude_none=True) for tool in fields or ()]


def messages_of(fields: Sequence[ChatMessage], place: str = "messages") -> list[Message]:
    """The messages in the form that templates read. Calls without an id get one, and results that of their call.

    Raises:
        InvalidField: a message has images, or a message has calls and is not the assistant's.
    """
    names = _call_ids()
    open_calls: list[tuple[str, str]] = []  # name and id of calls without a result yet
    messages: list[Message] = []
    for index, field in enumerate(fields):
        where = f"{place}[{index}]"
        refuse_images(field.images, f"{where}.images")
        message: dict[str, Any] = {"role": field.role, "content": field.content or ""}
        if field.thinking:
            message["reasoning_content"] = field.thinking
        if field.tool_calls:
            if field.role != "assistant":
                raise InvalidField(t("{place}.tool_calls: only the assistant calls tools", place=where), param=where)
            calls = [(call.id or next(names), call.function) for call in field.tool_calls]
            open_calls += [(function.name, number) for number, function in calls]
            message["tool_calls"] = [
                {"id": number, "type": "function", "function": {"name": call.name, "arguments": dict(call.arguments)}}
                for number, call in calls
            ]
        if field.role == "tool":
            message["tool_call_id"] = field.tool_call_id or _answered(open_calls, field.tool_name) or next(names)
            if field.tool_name is not None:
                message["name"] = field.tool_name
        messages.append(message)
    return messages


def _answered(open_calls: list[tuple[str, str]], name: str | None) -> str | None:
    """The id of the first call without a result, of this tool if it is named; it has one now."""
    for position, (tool, number) in enumerate(open_calls):
        if name is None or tool == name:
            del open_calls[position]
            return number
    return None


def _call_ids() -> Iterator[str]:
    """Nine letters and digits, which the templates of all models take."""
    number = 0
    while True:
        yield f"call{number:05d}"
        number += 1


def refuse_images(images: Sequence[str] | None, place: str) -> None:
    """Raise InvalidField if there are any."""
    if images:
        raise InvalidField(
            t("{where}: the models here read text", where=place), param=place, hint=t("Leave out images.")
        )


def output_format(value: str | dict[str, Any] | None) -> Grammar | None:
    """The constraint of the field ``format``.

    Raises:
        InvalidField: it is neither ``"json"`` nor a schema.
    """
    if value is None or value == "":
        return None
    if value == "json":
        return Grammar("json_schema", {"type": "object"})
    if isinstance(value, str):
        raise InvalidField(
            t('format = {value!r}: allowed are "json" and a JSON schema', value=value[:80]), param="format"
        )
    return Grammar("json_schema", value)


def seconds_of(value: float | str | None) -> float | None:
    """A ``keep_alive`` in seconds, below 0 for ever; ``None`` for the server's own.

    Raises:
        InvalidField: it is no duration.
    """
    if value is None or value == "":
        return None
    if isinstance(value, int | float):
        return FOR_EVER if value < 0 else float(value)
    text = value.strip()
    sign = -1 if text.startswith("-") else 1
    body = text.lstrip("+-")
    try:
        seconds = float(body)
    except ValueError:
        parts = _PART.findall(body)
        if not parts or "".join(number + unit for number, unit in parts) != body:
            raise InvalidField(
                t("keep_alive = {value!r}: allowed are seconds, or a duration such as 30s, 5m or 1h30m", value=value),
                param="keep_alive",
            ) from None
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not math.isfinite(seconds):
        raise InvalidField(
            t("keep_alive = {value!r}: allowed are seconds, or a duration such as 30s, 5m or 1h30m", value=value),
            param="keep_alive",
        )
    return FOR_EVER if sign < 0 and seconds > 0 else seconds


class NamedModel(Fields):
    """A request about one model of the library."""

    model: str | None = Field(None, min_length=1, description="Name of the model.")
    name: str | None = Field(None, min_length=1, description="The same under its older name.")

    @property
    def target(self) -> str:
        """The name.

        Raises:
            InvalidField: none is given, or two.
        """
        if self.model and self.name and self.model != self.name:
            raise InvalidField(t("model and name mean the same; give one"), param="name")
        found = self.model or self.name
        if found is None:
            raise InvalidField(t("{where} is missing", where="model"), param="model")
        return found


class StreamedWork(NamedModel):
    """Work that takes a while and tells of its progress."""

    stream: bool | None = Field(None, description="false: one answer at the end; by default lines of JSON.")

    @property
    def streams(self) -> bool:
        return self.stream is not False
