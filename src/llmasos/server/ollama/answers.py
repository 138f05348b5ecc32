"""The lines of an answer: parts while it is written, and a last one with the reason for the end and the times."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from llmasos.engine.request import Usage
from llmasos.errors import LLMasOSError
from llmasos.server.serving.job import Generation, Piece, PieceEnd, TokenInfo, ToolCallPiece
from llmasos.server.web.context import Context
from llmasos.server.web.errors import ollama_body
from llmasos.server.web.streaming import to_json

Kind = Literal["chat", "generate"]
_LOWEST = -9999.0  # JSON has no infinity


def timestamp() -> str:
    """Now, as RFC 3339 has it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def nanoseconds(seconds: float) -> int:
    return max(round(seconds * 1e9), 0)


def line(value: Any) -> bytes:
    """One line of a stream."""
    return f"{to_json(value)}\n".encode()


def error_line(error: LLMasOSError) -> bytes:
    """An error after the stream had begun."""
    return line(ollama_body(error, error.http_status, ""))


class CallCollector:
    """Puts the fragments of tool calls together: this API gives calls whole, with their arguments as an object."""

    def __init__(self) -> None:
        self._open: ToolCallPiece | None = None

    def push(self, pieces: Sequence[ToolCallPiece]) -> tuple[list[dict[str, Any]], str]:
        """Calls that are whole now, and the text of what began as one and was none."""
        calls: list[dict[str, Any]] = []
        text = ""
        for piece in pieces:
            if self._open is not None and piece.index == self._open.index:
                self._open.arguments += piece.arguments
                continue
            found, broken = self.finish()
            calls += found
            text += broken
            self._open = ToolCallPiece(piece.index, piece.id, piece.name, piece.arguments)
        return calls, text

    def finish(self) -> tuple[list[dict[str, Any]], str]:
        """The last call, at the end of the output; one that was cut off comes as text, so that nothing is lost."""
        call, self._open = self._open, None
        if call is None:
            return [], ""
        try:
            arguments = json.loads(call.arguments or "{}")
        except ValueError:
            arguments = None
        if not isinstance(arguments, dict):
            return [], f'{{"name": {json.dumps(call.name)}, "arguments": {call.arguments}'
        function = {"index": call.index, "name": call.name, "arguments": arguments}
        return [{"id": call.id, "function": function}], ""


@dataclass(slots=True)
class Part:
    """What is said at once."""

    text: str = ""
    thinking: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    logprobs: list[TokenInfo] | None = None

    def __bool__(self) -> bool:
        return bool(self.text or self.thinking or self.calls or self.logprobs)


class Answer:
    """Writes the answer to one request.

    Args:
        kind: which route's form.
        model: its name as the client wrote it.
        generation: what is answered from.
        started: ``time.perf_counter()`` when the request came.
        with_context: give the tokens of prompt and output at the end, for a next turn.
    """

    def __init__(
        self, kind: Kind, model: str, generation: Generation, started: float, *, with_context: bool = False
    ) -> None:
        self._kind, self._model, self._generation, self._started = kind, model, generation, started
        self._with_context = with_context
        self._calls = CallCollector()
        self._ids: list[int] = []

    async def lines(self, context: Context) -> AsyncIterator[bytes]:
        """The stream."""
        try:
            async for part, end in self._parts(context):
                if part:
                    yield line({**self._head(part), "done": False, **_logprobs(part)})
                if end is not None:
                    yield line({**self._head(Part()), **end})
        except LLMasOSError as error:
            context.failed(error)
            yield error_line(error)

    async def whole(self, context: Context) -> dict[str, Any]:
        """The answer at once.

        Raises:
            LLMasOSError: the generation failed on the way.
        """
        total = Part()
        async for part, end in self._parts(context):
            total.text += part.text
            total.thinking += part.thinking
            total.calls += part.calls
            if part.logprobs is not None:
                total.logprobs = [*(total.logprobs or ()), *part.logprobs]
            if end is not None:
                return {**self._head(total), **end, **_logprobs(total)}
        raise AssertionError("a generation ends with its usage")

    async def _parts(self, context: Context) -> AsyncIterator[tuple[Part, dict[str, Any] | None]]:
        reason: PieceEnd | None = None
        while True:
            for piece in await self._generation.read():
                self._ids += piece.token_ids
                reason = piece.finish_reason or reason
                end = None
                if piece.usage is not None:
                    context.usage(piece.usage)
                    end = self._end(reason, piece.usage)
                yield self._part(piece), end
                if end is not None:
                    return

    def _part(self, piece: Piece) -> Part:
        calls, broken = self._calls.push(piece.tool_calls)
        if piece.finish_reason is not None:
            last, rest = self._calls.finish()
            calls += last
            broken += rest
        return Part(piece.text + broken, piece.reasoning, calls, piece.logprobs)

    def _head(self, part: Part) -> dict[str, Any]:
        head: dict[str, Any] = {"model": self._model, "created_at": timestamp()}
        if self._kind == "generate":
            head["response"] = part.text
            if part.thinking:
                head["thinking"] = part.thinking
            return head
        message: dict[str, Any] = {"role": "assistant", "content": part.text}
        if part.thinking:
            message["thinking"] = part.thinking
        if part.calls:
            message["tool_calls"] = part.calls
        return {**head, "message": message}

    def _end(self, reason: PieceEnd | None, usage: Usage) -> dict[str, Any]:
        end: dict[str, Any] = {"done": True, "done_reason": "length" if reason == "length" else "stop"}
        if self._with_context and self._generation.prompt_ids is not None:
            end["context"] = [*self._generation.prompt_ids, *self._ids]
        return end | timings(usage, self._generation.load_seconds, time.perf_counter() - self._started)


def timings(usage: Usage, load_seconds: float, total_seconds: float) -> dict[str, int]:
    """Counts of tokens, and durations in nanoseconds; those that another server does not tell are left out."""
    times = {
        "total_duration": nanoseconds(total_seconds),
        "load_duration": nanoseconds(load_seconds),
        "prompt_eval_count": usage.prompt_tokens,
        "eval_count": usage.completion_tokens,
    }
    if usage.first_token_seconds is not None:
        times["prompt_eval_duration"] = nanoseconds(usage.first_token_seconds - usage.queue_seconds)
        times["eval_duration"] = nanoseconds(usage.total_seconds - usage.first_token_seconds)
    return times


def _logprobs(part: Part) -> dict[str, Any]:
    if part.logprobs is None:
        return {}
    return {
        "logprobs": [
            {**_token(token), **({"top_logprobs": [_token(item) for item in token.top]} if token.top else {})}
            for token in part.logprobs
        ]
    }


def _token(token: TokenInfo) -> dict[str, Any]:
    raw = token.raw if token.raw is not None else token.text.encode()
    return {"token": token.text, "logprob": max(token.logprob, _LOWEST), "bytes": list(raw)}


def loaded_answer(kind: Kind, model: str, reason: Literal["load", "unload"]) -> dict[str, Any]:
    """The answer to a request without a prompt: the model was loaded, or will be unloaded."""
    head: dict[str, Any] = {"model": model, "created_at": timestamp()}
    if kind == "chat":
        head["message"] = {"role": "assistant", "content": ""}
    else:
        head["response"] = ""
    return {**head, "done": True, "done_reason": reason}
