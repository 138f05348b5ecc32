"""What a model writes, as Anthropic's events and as its message: both come from the same pieces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pydantic_core

from llmasos.engine.request import Usage
from llmasos.server.serving.job import Piece, ToolCallPiece
from llmasos.server.serving.reading import ReasoningTokens

Event = dict[str, Any]
_DELTAS = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking")}


class MessageWriter:
    """Writes one message. After ``begin``, feed it all pieces: the last, with the usage, ends it.

    Args:
        id: of the message.
        model: as the request names it.
        max_tokens: of the request; an output that stops short of them for its length has filled the context.
        stop_sequences: of the request.
        prompt_tokens: as far as they are known at the beginning.
        show_thinking: whether thinking is written out.
    """

    def __init__(
        self, id: str, model: str, *, max_tokens: int, stop_sequences: Sequence[str] = (), prompt_tokens: int = 0,
        show_thinking: bool = True,
    ) -> None:  # fmt: skip
        self._max_tokens = max_tokens
        self._stop_sequences = stop_sequences
        self._show_thinking = show_thinking
        self._last: Piece | None = None
        self._open: dict[str, Any] | None = None
        self._parts: list[str] = []
        self._thought = ReasoningTokens()
        self.usage: Usage | None = None
        """At the end."""
        self.message: dict[str, Any] = {
            "id": id, "type": "message", "role": "assistant", "model": model, "content": [], "stop_reason": None,
            "stop_sequence": None, "usage": {"input_tokens": prompt_tokens, "cache_creation_input_tokens": 0,
                                             "cache_read_input_tokens": 0, "output_tokens": 0},
        }  # fmt: skip

    def begin(self) -> list[Event]:
        """The events before the first piece."""
        return [{"type": "message_start", "message": {**self.message, "content": []}}, {"type": "ping"}]

    def add(self, pieces: Sequence[Piece]) -> list[Event]:
        """The events that pieces bring."""
        events: list[Event] = []
        for piece in pieces:
            self._thought.add(piece)
            if piece.reasoning:
                self._write("thinking", piece.reasoning, events)
            if piece.text:
                self._write("text", piece.text, events)
            for call in piece.tool_calls:
                self._write_call(call, events)
            if piece.finish_reason is not None:
                self._last = piece
            if piece.usage is not None:
                self._end(piece.usage, events)
        return events

    def _write(self, kind: str, text: str, events: list[Event]) -> None:
        if self._open is None or self._open["type"] != kind:
            block: dict[str, Any] = {"type": kind, kind: ""}
            if kind == "thinking":
                block["signature"] = ""
            self._start(block, events)
        if kind == "thinking" and not self._show_thinking:
            return
        self._parts.append(text)
        delta, key = _DELTAS[kind]
        events.append(self._delta({"type": delta, key: text}))

    def _write_call(self, call: ToolCallPiece, events: list[Event]) -> None:
        if call.id is not None:
            self._start({"type": "tool_use", "id": call.id, "name": call.name, "input": {}}, events)
        if call.arguments:
            self._parts.append(call.arguments)
            events.append(self._delta({"type": "input_json_delta", "partial_json": call.arguments}))

    def _start(self, block: dict[str, Any], events: list[Event]) -> None:
        self._stop(events)
        self._open = block
        self.message["content"].append(block)
        events.append({"type": "content_block_start", "index": self._index, "content_block": dict(block)})

    def _stop(self, events: list[Event]) -> None:
        block = self._open
        if block is None:
            return
        written = "".join(self._parts)
        self._parts = []
        self._open = None
        if block["type"] == "tool_use":
            block["input"] = _input(written)
        else:
            block[block["type"]] = written
        events.append({"type": "content_block_stop", "index": self._index})

    @property
    def _index(self) -> int:
        return len(self.message["content"]) - 1

    def _delta(self, delta: dict[str, Any]) -> Event:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}

    def _end(self, usage: Usage, events: list[Event]) -> None:
        self._stop(events)
        self.usage = usage
        reason, sequence = self._stop_reason(usage)
        self.message["stop_reason"], self.message["stop_sequence"] = reason, sequence
        self.message["usage"] = usage_of(usage, self._thought.count)
        events.append(
            {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": sequence},
             "usage": self.message["usage"]}
        )  # fmt: skip
        events.append({"type": "message_stop"})

    def _stop_reason(self, usage: Usage) -> tuple[str, str | None]:
        last = self._last
        assert last is not None, "every output ends for a reason"
        if isinstance(last.stop, str) and last.stop in self._stop_sequences:
            return "stop_sequence", last.stop
        if last.finish_reason == "tool_calls":
            return "tool_use", None
        if last.finish_reason == "length":
            full = usage.completion_tokens < self._max_tokens
            return "model_context_window_exceeded" if full else "max_tokens", None
        return "end_turn", None


def usage_of(usage: Usage, thinking_tokens: int) -> dict[str, Any]:
    """Anthropic's form: ``input_tokens`` are those that were not in the cache."""
    form: dict[str, Any] = {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": thinking_tokens},
    }
    if usage.truncated_tokens:
        form["truncated_tokens"] = usage.truncated_tokens
    return form


def _input(written: str) -> Any:
    """The input of a call; of one that was cut off by max_tokens, as much as there is."""
    if not written:
        return {}
    value = pydantic_core.from_json(written, allow_partial="trailing-strings")
    return value if isinstance(value, dict) else {}
