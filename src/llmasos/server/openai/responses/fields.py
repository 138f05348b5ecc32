"""Fields of POST /v1/responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, JsonValue, Tag

from llmasos.server.openai.fields import JsonObjectFormat, TextFormat
from llmasos.server.web.body import Fields
from llmasos.server.web.unions import TEXT, by_type, text_or_list

Unknown = Annotated[dict[str, JsonValue], Tag("<other>")]
"""An item, part or tool of a kind that is not done here; refused by its name."""
Status = Literal["in_progress", "completed", "incomplete"]


class InputText(Fields):
    """A text for the model."""

    type: Literal["input_text"]
    text: str


class OutputText(Fields):
    """A text of the model."""

    type: Literal["output_text"]
    text: str
    annotations: list[JsonValue] | None = Field(None, description="Of answers that are sent back; not read.")
    logprobs: list[JsonValue] | None = Field(None, description="Of answers that are sent back; not read.")


class Refusal(Fields):
    """What the assistant said when it refused."""

    type: Literal["refusal"]
    refusal: str


Part = Annotated[
    Annotated[InputText, Tag("<input_text>")]
    | Annotated[OutputText, Tag("<output_text>")]
    | Annotated[Refusal, Tag("<refusal>")]
    | Unknown,
    Discriminator(by_type("input_text", "output_text", "refusal")),
]
Parts = Annotated[Annotated[str, Tag("<text>")] | Annotated[list[Part], Tag("<list>")], Discriminator(text_or_list)]


class MessageItem(Fields):
    """A message."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Parts
    id: str | None = None
    status: Status | None = None


class FunctionCallItem(Fields):
    """A call that the assistant made."""

    type: Literal["function_call"]
    call_id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    arguments: str = Field(description="JSON text of an object.")
    id: str | None = None
    status: Status | None = None


class FunctionCallOutputItem(Fields):
    """What the function returned."""

    type: Literal["function_call_output"]
    call_id: str
    output: Parts
    id: str | None = None
    status: Status | None = None


class SummaryText(Fields):
    """A summary of thinking."""

    type: Literal["summary_text"]
    text: str


class ReasoningText(Fields):
    """Thinking."""

    type: Literal["reasoning_text"]
    text: str


class ReasoningItem(Fields):
    """What the assistant thought before it went on."""

    type: Literal["reasoning"]
    id: str | None = None
    summary: list[SummaryText] = Field(default_factory=list)
    content: list[ReasoningText] | None = None
    encrypted_content: None = Field(None, description="Only null: thinking is sent in the clear.")
    status: Status | None = None


Item = Annotated[
    Annotated[MessageItem, Tag("<message>")]
    | Annotated[FunctionCallItem, Tag("<function_call>")]
    | Annotated[FunctionCallOutputItem, Tag("<function_call_output>")]
    | Annotated[ReasoningItem, Tag("<reasoning>")]
    | Unknown,
    Discriminator(by_type("message", "function_call", "function_call_output", "reasoning", absent="message")),
]
Input = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[list[Item], Tag("<list>"), Field(min_length=1)],
    Discriminator(text_or_list),
]


class FunctionTool(Fields):
    """A function that the model may call."""

    type: Literal["function"]
    name: str
    description: str | None = None
    parameters: dict[str, JsonValue] | None = Field(None, description="JSON schema of the arguments.")
    strict: bool | None = Field(None, description="Arguments always follow the schema; true and false do the same.")

    NOT_SUPPORTED: ClassVar[Mapping[str, str]] = {
        "defer_loading": "the server does not search for tools",
        "allowed_callers": "only the model calls tools",
        "output_schema": "outputs are taken as they are",
    }


ToolField = Annotated[Annotated[FunctionTool, Tag("<function>")] | Unknown, Discriminator(by_type("function"))]


class NamedFunction(Fields):
    """A call of this function is required."""

    type: Literal["function"]
    name: str


class AllowedTools(Fields):
    """Only these of the tools may be called."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[NamedFunction] = Field(min_length=1)


def _choice_kind(value: object) -> str:
    return TEXT if isinstance(value, str) else by_type("function", "allowed_tools")(value)


ToolChoiceField = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<text>")]
    | Annotated[NamedFunction, Tag("<function>")]
    | Annotated[AllowedTools, Tag("<allowed_tools>")]
    | Unknown,
    Discriminator(_choice_kind),
]


class SchemaFormat(Fields):
    """An answer that follows a schema."""

    type: Literal["json_schema"]
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    schema_: dict[str, JsonValue] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = Field(None, description="Outputs always follow the schema; true and false do the same.")


class TextConfig(Fields):
    """The form of the text."""

    format: Annotated[
        Annotated[TextFormat, Tag("<text>")]
        | Annotated[JsonObjectFormat, Tag("<json_object>")]
        | Annotated[SchemaFormat, Tag("<json_schema>")]
        | Unknown,
        Discriminator(by_type("text", "json_object", "json_schema")),
    ] = Field(TextFormat(type="text"), description="text, json_object or json_schema.")

    NOT_SUPPORTED: ClassVar[Mapping[str, str]] = {"verbosity": "the models here have no such setting"}


class Reasoning(Fields):
    """How the model thinks."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = Field(
        None, description="none switches thinking off, anything else on, where the model's template can."
    )
    summary: Literal["auto"] | None = Field(None, description="Thinking is given whole; there are no summaries.")

    NOT_SUPPORTED: ClassVar[Mapping[str, str]] = {
        "generate_summary": "thinking is given whole",
        "context": "the model's template decides which thinking it is shown again",
        "mode": "there is one",
    }


class ResponseStreamOptions(Fields):
    """What a stream has beside its events."""

    include_obfuscation: Literal[False] | None = Field(None, description="Only false: nothing is added to events.")


class InputTokensRequest(Fields):
    """Input whose tokens are counted."""

    model: str = Field(description="Name of a model, an adapter, or BASE+ADAPTER.")
    input: Input = Field(description="A text, or items of a conversation.")
    instructions: str | None = Field(None, description="A system message for this response only.")
    previous_response_id: str | None = Field(None, description="Go on after this response.")
    tools: list[ToolField] | None = Field(None, description="Functions that the model may call.")
    tool_choice: ToolChoiceField | None = Field(
        None, description="none, auto, required, a function, or allowed_tools; others are not shown to the model."
    )
    parallel_tool_calls: bool | None = Field(None, description="false: at most one call.")
    text: TextConfig = Field(TextConfig(), description="The form of the text.")
    reasoning: Reasoning | None = Field(None, description="How the model thinks.")
    truncation: Literal["auto", "disabled"] | None = Field(
        None, description="auto leaves the oldest turns out of a conversation that does not fit, and says how many."
    )
    chat_template_kwargs: dict[str, JsonValue] | None = Field(None, description="Variables of the chat template.")

    NOT_SUPPORTED: ClassVar[Mapping[str, str]] = {
        "conversation": "use previous_response_id",
        "personality": "use instructions",
    }


class ResponseRequest(InputTokensRequest):
    """Input to answer."""

    include: list[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]] | None = Field(
        None, description="message.output_text.logprobs; reasoning.encrypted_content is allowed, and always null."
    )
    max_output_tokens: int | None = Field(None, ge=1, description="Most tokens of output, thinking included.")
    temperature: float | None = Field(None, ge=0, description="0 is greedy; default: the model's own.")
    top_p: float | None = Field(None, gt=0, le=1, description="Keep the likeliest tokens up to this probability.")
    top_logprobs: int | None = Field(None, ge=0, le=20, description="Likeliest tokens given with each.")
    stream: bool | None = Field(None, description="Send pieces as server-sent events.")
    stream_options: ResponseStreamOptions | None = Field(
        None, description="include_obfuscation can only be false: nothing is added to events."
    )
    store: bool | None = Field(None, description="Keep the response for a later look; default: as the server does.")
    background: bool | None = Field(None, description="Answer at once, and go on without the client.")
    metadata: dict[
        Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]
    ] | None = Field(None, max_length=16, description="Up to 16 texts, given back.")  # fmt: skip
    user: str | None = Field(None, description="Written to the access log.")
    safety_identifier: str | None = Field(None, description="Written to the access log where there is no user.")
    prompt_cache_key: str | None = Field(None, description="Prefixes are shared with and without it.")
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1, description="The same seed gives the same output.")
    stop: str | list[str] | None = Field(None, description="Texts that end the output.")
    top_k: int | None = Field(None, ge=0, description="Keep the k likeliest tokens.")
    min_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, gt=0)
    priority: int | None = Field(None, ge=-100, le=100, description="Higher goes first.")
    timeout: float | None = Field(None, gt=0, description="Seconds after which the request ends.")

    NOT_SUPPORTED: ClassVar[Mapping[str, str]] = {
        **InputTokensRequest.NOT_SUPPORTED,
        "prompt": "the server keeps no prompts",
        "max_tool_calls": "it is about tools that the server runs, and it runs none",
        "moderation": "the server judges nothing",
        "context_management": "use truncation",
        "prompt_cache_options": "prefixes are shared without them",
        "prompt_cache_retention": "prefixes stay until their room is needed",
        "service_tier": "there is one",
    }

    SAMPLING: ClassVar[tuple[str, ...]] = (
        "temperature", "top_p", "seed", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty",
    )  # fmt: skip

    def sampling(self) -> dict[str, Any]:
        """By the engine's names."""
        options = {name: getattr(self, name) for name in self.SAMPLING}
        options["stop"] = [self.stop] if isinstance(self.stop, str) else self.stop or None
        options["max_tokens"] = self.max_output_tokens
        return options
