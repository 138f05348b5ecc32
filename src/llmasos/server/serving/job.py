"""What every API asks for, whatever its own fields are called, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from llmasos.engine.request import Grammar, Usage

Message = Mapping[str, Any]
"""In OpenAI's form: role, content (text), tool_calls (arguments as objects), tool_call_id, name."""

PieceEnd = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class Job:
    """A text to continue or a conversation to answer."""

    model: str
    """Name under which the model is served."""
    messages: Sequence[Message] | None = None
    prompt: str | Sequence[int] | None = None
    """A text or token ids, where there are no messages. Beside messages: what a model without a chat template
    continues in their place."""
    context_ids: Sequence[int] = ()
    """Tokens that stand before the prompt, such as those of an earlier turn."""
    context_limit: int | None = None
    """Most tokens of prompt and output together; ``None``: what the model takes."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """By the names of :class:`~llmasos.engine.request.SamplingParameters`; absent ones follow the model's defaults."""
    tools: Sequence[Mapping[str, Any]] = ()
    """In OpenAI's form."""
    tool_choice: str | Mapping[str, Any] = "auto"
    parallel_tool_calls: bool = True
    output_format: Grammar | None = None
    template_variables: Mapping[str, Any] = field(default_factory=dict)
    thinking: bool | str | None = None
    """Whether the model thinks before it answers, or a level such as ``low``; ``None``: as its template has it."""
    continue_last: bool = False
    """Go on with the last message, which is the assistant's, instead of answering it."""
    split_reasoning: bool = True
    """Give what a model thinks apart from what it says, where its template marks it."""
    truncate: Literal["left", "right"] | None = None
    """Which end of a prompt that does not fit is cut off; ``None`` refuses it."""
    deadline_seconds: float | None = None
    priority: int = 0
    keep_alive: float | None = None
    """Seconds that the model stays loaded after this request; ``None``: the server's default; below 0: for ever."""


@dataclass(slots=True)
class TokenInfo:
    """A token of the output with its log-probability."""

    token_id: int
    text: str
    raw: bytes | None
    """Its bytes, where they do not depend on its neighbours."""
    logprob: float
    top: list[TokenInfo] = field(default_factory=list)
    """The likeliest tokens at this place, best first."""


@dataclass(slots=True)
class ToolCallPiece:
    """A part of a tool call. The first of each call has id and name; the fragments of arguments join to JSON."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(slots=True)
class Piece:
    """News of one of the outputs of a job."""

    index: int
    text: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCallPiece] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenInfo] | None = None
    finish_reason: PieceEnd | None = None
    stop: str | int | None = None
    """The stop text or token that ended the output, if one did."""
    prompt_logprobs: list[TokenInfo | None] | None = None
    usage: Usage | None = None
    """On the last piece of all."""


class Generation(Protocol):
    """A job that has been accepted. ``close`` must be called, whatever happens."""

    id: str
    load_seconds: float
    """How long the model took to load for this job; 0 if it was loaded."""
    prompt_ids: Sequence[int] | None
    """``None`` where another server tokenises."""

    async def read(self) -> list[Piece]:
        """The next pieces, at least one; the last of all has ``usage``.

        Raises:
            LLMasOSError: the job failed on the way.
        """

    def close(self) -> None:
        """Cancel what is not finished and free what the job held."""


@dataclass(slots=True)
class Output:
    """One whole output."""

    index: int
    text: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCallPiece] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenInfo] | None = None
    finish_reason: PieceEnd | None = None
    stop: str | int | None = None


@dataclass(slots=True)
class Finished:
    """All that a job gave."""

    outputs: list[Output]
    usage: Usage
    prompt_logprobs: list[TokenInfo | None] | None = None


async def finish(generation: Generation) -> Finished:
    """Read a generation to its end and put its pieces together; the caller closes it."""
    outputs: dict[int, Output] = {}
    prompt_logprobs = None
    while True:
        for piece in await generation.read():
            output = outputs.setdefault(piece.index, Output(piece.index))
            output.text += piece.text
            output.reasoning += piece.reasoning
            output.token_ids += piece.token_ids
            if piece.logprobs is not None:
                output.logprobs = (output.logprobs or []) + piece.logprobs
            for call in piece.tool_calls:
                _add_call(output.tool_calls, call)
            if piece.finish_reason is not None:
                output.finish_reason, output.stop = piece.finish_reason, piece.stop
            if piece.prompt_logprobs is not None:
                prompt_logprobs = piece.prompt_logprobs
            if piece.usage is not None:
                return Finished([outputs[index] for index in sorted(outputs)], piece.usage, prompt_logprobs)


def _add_call(calls: list[ToolCallPiece], piece: ToolCallPiece) -> None:
    if piece.index == len(calls):
        calls.append(ToolCallPiece(piece.index, piece.id, piece.name, piece.arguments))
    else:
        calls[piece.index].arguments += piece.arguments
