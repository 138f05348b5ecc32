"""Fields of Anthropic's messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator, Field, JsonValue, Tag

from llmasos.server.web.body import Fields
from llmasos.server.web.unions import by_type, text_or_list

NoEntries = Annotated[list[JsonValue], Field(max_length=0)]
Unknown = Annotated[dict[str, JsonValue], Tag("<other>")]
"""A block or tool of a kind that the models here do not read; refused by its name."""


class CacheControl(Fields):
    """Prefixes are shared among all requests, marked or not, until their room is needed."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class TextBlock(Fields):
    """A text."""

    type: Literal["text"]
    text: str
    cache_control: CacheControl | None = None
    citations: NoEntries | None = Field(None, description="Empty: the models here cite nothing.")


class DirectCaller(Fields):
    """The model itself called."""

    type: Literal["direct"]


class ToolUseBlock(Fields):
    """A call that the assistant made."""

    type: Literal["tool_use"]
    id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    input: dict[str, JsonValue]
    cache_control: CacheControl | None = None
    caller: DirectCaller | None = None


class ThinkingBlock(Fields):
    """What the assistant thought. Signatures are neither made nor checked."""

    type: Literal["thinking"]
    thinking: str
    signature: str = ""


ResultBlock = Annotated[Annotated[TextBlock, Tag("<text>")] | Unknown, Discriminator(by_type("text"))]
ResultContent = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[list[ResultBlock], Tag("<list>")], Discriminator(text_or_list)
]


class ToolResultBlock(Fields):
    """What a tool answered."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: ResultContent = ""
    is_error: bool | None = None
    cache_control: CacheControl | None = None


Block = Annotated[
    Annotated[TextBlock, Tag("<text>")]
    | Annotated[ToolUseBlock, Tag("<tool_use>")]
    | Annotated[ToolResultBlock, Tag("<tool_result>")]
    | Annotated[ThinkingBlock, Tag("<thinking>")]
    | Unknown,
    Discriminator(by_type("text", "tool_use", "tool_result", "thinking")),
]
Content = Annotated[Annotated[str, Tag("<text>")] | Annotated[list[Block], Tag("<list>")], Discriminator(text_or_list)]


class MessageField(Fields):
    """A message of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: Content


class CustomTool(Fields):
    """A tool that the client runs."""

    type: Literal["custom"] | None = Field(None, description="custom; all others are tools of a server.")
    name: str
    description: str | None = None
    input_schema: dict[str, JsonValue] = Field(description="JSON schema of the input.")
    strict: bool | None = Field(None, description="Inputs always follow the schema; true and false do the same.")
    eager_input_streaming: bool | None = Field(None, description="Inputs are streamed as they are written anyway.")
    cache_control: CacheControl | None = None

    NOT_SUPPORTED: ClassVar[Mapping[str, str]] = {
        "input_examples": "write them into the description",
        "allowed_callers": "only the model calls tools",
        "defer_loading": "the server does not search for tools",
    }


def _tool_kind(value: object) -> str:
    kind = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
    return "<custom>" if kind in (None, "custom") else "<other>"


ToolField = Annotated[Annotated[CustomTool, Tag("<custom>")] | Unknown, Discriminator(_tool_kind)]


class ToolChoice(Fields):
    """Whether tools may or must be called."""

    type: Literal["auto", "any", "tool", "none"] = Field(description="auto, any, tool or none.")
    name: str | None = Field(None, description="Which, for the type tool.")
    disable_parallel_tool_use: bool | None = Field(None, description="true: at most one call.")


class Thinking(Fields):
    """Whether the model thinks before it answers."""

    type: Literal["enabled", "disabled", "adaptive"] = Field(
        description="enabled or disabled where the model can be told so; adaptive leaves it to the model."
    )
    budget_tokens: int | None = Field(None, ge=1, description="What thinking should keep to; max_tokens is the limit.")
    display: Literal["omitted"] | None = Field(None, description="omitted leaves the text of the thinking out.")


class JsonFormat(Fields):
    """The answer follows a schema."""

    type: Literal["json_schema"]
    schema_: dict[str, JsonValue] = Field(alias="schema")


class OutputConfig(Fields):
    """The form of the answer."""

    format: JsonFormat | None = Field(None, description="A JSON schema that the answer follows.")

    NOT_SUPPORTED: ClassVar[Mapping[str, str]] = {"effort": "use thinking"}


SystemBlock = Annotated[Annotated[TextBlock, Tag("<text>")] | Unknown, Discriminator(by_type("text"))]
System = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[list[SystemBlock], Tag("<list>")], Discriminator(text_or_list)
]


class CountRequest(Fields):
    """A conversation whose tokens are counted."""

    model: str = Field(description="Name of a model, an adapter, or BASE+ADAPTER.")
    messages: list[MessageField] = Field(
        min_length=1,
        description="Texts, or blocks: text, tool_use, tool_result, thinking.",
    )
    system: System = Field("", description="A text or text blocks.")
    tools: list[ToolField] | None = Field(None, description="Tools that the client runs.")
    tool_choice: ToolChoice | None = Field(None, description="Whether tools may or must be called.")
    thinking: Thinking | None = Field(None, description="Whether the model thinks before it answers.")
    output_config: OutputConfig | None = Field(None, description="The form of the answer.")
    cache_control: CacheControl | None = Field(
        None, description="Prefixes are shared with and without it, until their room is needed."
    )
    chat_template_kwargs: dict[str, JsonValue] | None = Field(None, description="Variables of the chat template.")

    NOT_SUPPORTED: ClassVar[Mapping[str, str]] = {
        "speed": "there is one",
        "mcp_servers": "the server calls no tools itself",
        "context_management": "nothing is removed from a conversation",
        "user_profile_id": "use metadata.user_id",
        "workspace_id": "there are no workspaces",
    }


class MessagesRequest(CountRequest):
    """A conversation to answer."""

    max_tokens: int = Field(ge=1, description="Most tokens of output, thinking included.")
    stop_sequences: list[Annotated[str, Field(min_length=1)]] | None = Field(
        None, description="Texts that end the output."
    )
    temperature: float | None = Field(None, ge=0, description="0 is greedy; default: the model's own.")
    top_p: float | None = Field(None, gt=0, le=1, description="Keep the likeliest tokens up to this probability.")
    top_k: int | None = Field(None, ge=0, description="Keep the k likeliest tokens.")
    stream: bool | None = Field(None, description="Send pieces as server-sent events.")
    metadata: MetadataField | None = Field(None, description="user_id is written to the access log.")
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1, description="The same seed gives the same output.")
    truncate: Literal["left", "right"] | None = Field(
        None, description="Cut a prompt that does not fit at this end; without it such a prompt is refused."
    )
    priority: int | None = Field(None, ge=-100, le=100, description="Higher goes first.")
    timeout: float | None = Field(None, gt=0, description="Seconds after which the request ends.")

    NOT_SUPPORTED: ClassVar[Mapping[str, str]] = {
        **CountRequest.NOT_SUPPORTED,
        "container": "the server runs no code",
        "diagnostics": "the cache is not examined",
        "inference_geo": "there is one place",
        "service_tier": "there is one",
    }


class MetadataField(Fields):
    """About the request."""

    user_id: str | None = Field(None, description="Written to the access log.")


MessagesRequest.model_rebuild()
