"""Fields that several of OpenAI's routes share, and what they mean here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, JsonValue

from llmasos.engine.request import Grammar
from llmasos.i18n import t
from llmasos.server.serving.job import Message
from llmasos.server.web.body import Fields, InvalidField

Seconds = Annotated[float, Field(gt=0)]


class StreamOptions(Fields):
    """What a stream has beside its pieces."""

    include_usage: bool = Field(False, description="A last chunk without choices has the usage.")
    continuous_usage_stats: bool = Field(False, description="Every chunk has the usage so far (as in vLLM).")


class StructuredOutput(Fields):
    """A constraint on the text (as in vLLM); exactly one."""

    json_: JsonValue = Field(None, alias="json", description="A JSON schema.")
    regex: str | None = Field(None, description="A regular expression that the whole text matches.")
    choice: list[str] | None = Field(None, min_length=1, description="The text is one of these.")
    grammar: str | None = Field(None, description="A grammar in Lark's notation.")

    def constraint(self) -> Grammar:
        """The engine's form. Raises InvalidField unless exactly one is given."""
        given = [name for name in ("json_", "regex", "choice", "grammar") if getattr(self, name) is not None]
        if len(given) != 1:
            raise InvalidField(
                t("structured_outputs needs exactly one of json, regex, choice, grammar"), param="structured_outputs"
            )
        match given[0]:
            case "json_":
                schema = self.json_
                if not isinstance(schema, dict | str):
                    raise InvalidField(t("structured_outputs.json is no JSON schema"), param="structured_outputs.json")
                return Grammar("json_schema", schema)
            case "regex":
                return Grammar("regex", self.regex)
            case "choice":
                return Grammar("choice", tuple(self.choice or ()))
            case _:
                return Grammar("lark", self.grammar)


class SamplingFields(Fields):
    """How tokens are chosen: OpenAI's own fields, and the common additions to them."""

    model: str = Field(description="Name of a model, an adapter, or BASE+ADAPTER.")
    temperature: float | None = Field(None, ge=0, description="0 is greedy; default: the model's own.")
    top_p: float | None = Field(None, gt=0, le=1, description="Keep the likeliest tokens up to this probability.")
    n: int | None = Field(None, ge=1, le=128, description="Outputs.")
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1, description="The same seed gives the same output.")
    stop: str | list[str] | None = Field(None, description="Texts that end the output.")
    presence_penalty: float | None = Field(None, ge=-2, le=2, description="Taken off tokens that are in the output.")
    frequency_penalty: float | None = Field(None, ge=-2, le=2, description="Taken off for each time in the output.")
    logit_bias: dict[str, float] | None = Field(None, description="Added to the logits of token ids.")
    stream: bool | None = Field(None, description="Send pieces as server-sent events.")
    stream_options: StreamOptions | None = Field(None, description="include_usage: a last chunk has the usage.")
    user: str | None = Field(None, description="Written to the access log.")
    top_k: int | None = Field(None, ge=0, description="Keep the k likeliest tokens.")
    min_p: float | None = Field(None, ge=0, le=1, description="Keep tokens this fraction as likely as the likeliest.")
    typical_p: float | None = Field(None, gt=0, le=1, description="Locally typical sampling.")
    repetition_penalty: float | None = Field(None, gt=0, description="As in CTRL, on prompt and output.")
    min_tokens: int | None = Field(None, ge=0, description="No end before this many tokens.")
    stop_token_ids: list[int] | None = Field(None, description="Token ids that end the output.")
    ignore_eos: bool | None = Field(None, description="Go on after the model's own end tokens.")
    skip_special_tokens: bool | None = Field(None, description="Leave special tokens out of the text.")
    structured_outputs: StructuredOutput | None = Field(None, description="One of json, regex, choice, grammar.")
    truncate: Literal["left", "right"] | None = Field(
        None, description="Cut a prompt that does not fit at this end; without it such a prompt is refused."
    )
    priority: int | None = Field(None, ge=-100, le=100, description="Higher goes first.")
    timeout: Seconds | None = Field(None, description="Seconds after which the request ends.")

    SAMPLING: ClassVar[tuple[str, ...]] = (
        "temperature", "top_p", "n", "seed", "presence_penalty", "frequency_penalty", "top_k", "min_p", "typical_p",
        "repetition_penalty", "min_tokens", "ignore_eos", "skip_special_tokens",
    )  # fmt: skip

    def sampling(self) -> dict[str, Any]:
        """By the engine's names; fields that are absent are left out.

        Raises:
            InvalidField: a key of logit_bias is no token id.
        """
        options = {name: getattr(self, name) for name in self.SAMPLING if getattr(self, name) is not None}
        if self.stop:
            options["stop"] = [self.stop] if isinstance(self.stop, str) else self.stop
        if self.stop_token_ids:
            options["stop_token_ids"] = self.stop_token_ids
        if self.logit_bias:
            options["logit_bias"] = {_token_id(key): value for key, value in self.logit_bias.items()}
        return options


def _token_id(key: str) -> int:
    if not key.isascii() or not key.isdigit():
        raise InvalidField(
            t("logit_bias: {key!r} is no token id", key=key), param="logit_bias",
            hint=t("Keys are token ids; /tokenize tells them."),
        )  # fmt: skip
    return int(key)


class JsonSchemaFormat(Fields):
    """The schema of a structured answer."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str | None = None
    schema_: dict[str, JsonValue] | None = Field(None, alias="schema")
    strict: bool | None = Field(None, description="Outputs always follow the schema; true and false do the same.")


class TextFormat(Fields):
    """No constraint."""

    type: Literal["text"]


class JsonObjectFormat(Fields):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchemaResponse(Fields):
    """An answer that follows a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchemaFormat


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaResponse, Field(discriminator="type")]


def output_format(wanted: ResponseFormat | None, structured: StructuredOutput | None) -> Grammar | None:
    """The constraint that ``response_format`` or ``structured_outputs`` asks for.

    Raises:
        InvalidField: both are given.
    """
    if structured is not None:
        if wanted is not None and not isinstance(wanted, TextFormat):
            raise InvalidField(
                t("response_format and structured_outputs exclude each other"), param="structured_outputs"
            )
        return structured.constraint()
    match wanted:
        case JsonObjectFormat():
            return Grammar("json_schema", {"type": "object"})
        case JsonSchemaResponse():
            schema = wanted.json_schema.schema_
            return Grammar("json_schema", schema if schema is not None else {"type": "object"})
        case _:
            return None


class FunctionCall(Fields):
    """What a tool was called with."""

    name: str
    arguments: str = Field(description="JSON text of an object.")


class ToolCallField(Fields):
    """A call that the assistant made."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class ChatMessage(Fields):
    """A message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, JsonValue]] | None = Field(
        None, description='A text, or parts such as {"type": "text", "text": "..."}.'
    )
    name: str | None = None
    tool_calls: list[ToolCallField] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None

    NOT_SUPPORTED: ClassVar[Mapping[str, str]] = {}


def messages_of(fields: Sequence[ChatMessage]) -> list[Message]:
    """The messages in the form that templates read.

    Raises:
        InvalidField: a part is no text, or the arguments of a call are no JSON object.
    """
    return [_message(index, field) for index, field in enumerate(fields)]


def _message(index: int, field: ChatMessage) -> dict[str, Any]:
    place = f"messages[{index}]"
    message: dict[str, Any] = {"role": "system" if field.role == "developer" else field.role}
    message["content"] = _text(field.content, f"{place}.content")
    if field.name is not None:
        message["name"] = field.name
    if field.reasoning_content is not None:
        message["reasoning_content"] = field.reasoning_content
    if field.tool_calls:
        if field.role != "assistant":
            raise InvalidField(t("{place}.tool_calls: only the assistant calls tools", place=place), param=place)
        message["tool_calls"] = [
            {"id": call.id, "type": "function",
             "function": {"name": call.function.name,
                          "arguments": _arguments(call.function.arguments, f"{place}.tool_calls[{number}]")}}
            for number, call in enumerate(field.tool_calls)
        ]  # fmt: skip
    if field.role == "tool":
        if field.tool_call_id is None:
            raise InvalidField(t("{where} is missing", where=f"{place}.tool_call_id"), param=f"{place}.tool_call_id")
        message["tool_call_id"] = field.tool_call_id
    if message["content"] is None and not field.tool_calls:
        raise InvalidField(t("{where} is missing", where=f"{place}.content"), param=f"{place}.content")
    return message


def _text(content: str | list[dict[str, Any]] | None, place: str) -> str | None:
    if content is None or isinstance(content, str):
        return content
    texts = []
    for index, part in enumerate(content):
        kind, text = part.get("type"), part.get("text")
        if kind != "text":
            raise InvalidField(
                t("{place}[{index}] is of type {kind}; the models here read text", place=place, index=index,
                  kind=repr(kind)),
                param=f"{place}[{index}]",
                hint=t("Leave out images, sound and files."),
            )  # fmt: skip
        unknown = sorted(set(part) - {"type", "text"})
        if unknown or not isinstance(text, str):
            problem = (
                t("{where}: unknown field", where=unknown[0]) if unknown else t("{where} is missing", where="text")
            )
            raise InvalidField(f"{place}[{index}].{problem}", param=f"{place}[{index}]")
        texts.append(text)
    return "\n".join(texts)


def _arguments(text: str, place: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except (json.JSONDecodeError, RecursionError) as error:
        raise InvalidField(
            t("{place}.function.arguments is no JSON: {problem}", place=place, problem=error), param=place
        ) from error
    if not isinstance(value, dict):
        raise InvalidField(t("{place}.function.arguments is no JSON object", place=place), param=place)
    return value
