"""What a model writes, as the events of a response and as the response itself: both come from the same pieces."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from llmasos.engine.request import Usage
from llmasos.errors import LLMasOSError
from llmasos.server.openai.chat import finite
from llmasos.server.openai.responses.conversation import new_id
from llmasos.server.openai.responses.fields import ResponseRequest
from llmasos.server.serving.job import Piece, TokenInfo, ToolCallPiece
from llmasos.server.serving.reading import ReasoningTokens
from llmasos.server.web.errors import message_of

Event = dict[str, Any]
_TEXT_EVENTS = {"message": "response.output_text", "reasoning": "response.reasoning_text"}


class ResponseWriter:
    """Writes one response. After ``begin``, feed it all pieces: the last, with the usage, ends it.

    Args:
        fields: of the request.
        stored: whether the response is kept.
        dropped_messages: how many messages did not fit and were left out.
    """

    def __init__(self, fields: ResponseRequest, *, stored: bool, dropped_messages: int = 0) -> None:
        self.response = _head(fields, stored)
        if fields.truncation == "auto":
            self.response["dropped_messages"] = dropped_messages
        self.ended = False
        self.usage: Usage | None = None
        self._number = 0
        self._thought = ReasoningTokens()
        self._cut = False
        self._item: dict[str, Any] | None = None
        self._parts: list[str] = []
        self._logprobs: list[dict[str, Any]] = []
        self._tokens: list[dict[str, Any]] = []
        """Those whose text has not come yet: half of a character, or what may be a stop text."""

    @property
    def id(self) -> str:
        """Of the response."""
        return str(self.response["id"])

    def begin(self) -> list[Event]:
        """The events before the first piece; a response in the background waits until there is one."""
        if self.response["background"]:
            self.response["status"] = "queued"
            return [self._state("created"), self._state("queued")]
        return [self._state("created"), self._state("in_progress")]

    def add(self, pieces: Sequence[Piece]) -> list[Event]:
        """The events that pieces bring."""
        events: list[Event] = []
        if self.response["status"] == "queued":
            self.response["status"] = "in_progress"
            events.append(self._state("in_progress"))
        for piece in pieces:
            self._thought.add(piece)
            self._tokens += map(_token, piece.logprobs or ())
            if piece.reasoning:
                self._write("reasoning", piece.reasoning, events)
            if piece.text:
                self._write("message", piece.text, events)
            for call in piece.tool_calls:
                self._write_call(call, events)
            if piece.finish_reason is not None:
                self._cut = piece.finish_reason == "length"
            if piece.usage is not None:
                self._end(piece.usage, events)
        return events

    def fail(self, error: LLMasOSError) -> list[Event]:
        """The events of an error on the way."""
        status = error.http_status
        code = "rate_limit_exceeded" if status == 429 else "invalid_prompt" if status < 500 else "server_error"
        self.response["error"] = {"code": code, "message": message_of(error)}
        events: list[Event] = []
        self._close("incomplete", events)
        events.append(self._event("error", code=error.code, message=message_of(error), param=None))
        return events + self._stop("failed")

    def cancel(self) -> list[Event]:
        """The events of a response that nobody wants any more."""
        return self._stop("cancelled")

    def _stop(self, status: str) -> list[Event]:
        events: list[Event] = []
        self._close("incomplete", events)
        self.ended = True
        self.response["status"] = status
        return [*events, self._state(status)]

    def _end(self, usage: Usage, events: list[Event]) -> None:
        status = "incomplete" if self._cut else "completed"
        self.ended, self.usage = True, usage
        self._close(status, events)
        self.response["status"] = status
        self.response["usage"] = usage_of(usage, self._thought.count)
        if self._cut:
            self.response["incomplete_details"] = {"reason": "max_output_tokens"}
        else:
            self.response["completed_at"] = int(time.time())
        events.append(self._state(status))

    # --- items -------------------------------------------------------------------------------------------------

    def _write(self, kind: str, text: str, events: list[Event]) -> None:
        if self._item is None or self._item["type"] != kind:
            self._open(_message() if kind == "message" else _reasoning(), events)
            events.append(self._part_event("added", self._part("", [])))
        self._parts.append(text)
        logprobs, self._tokens = self._tokens, []
        extra: dict[str, Any] = {}
        if kind == "message":  # those of thinking and of calls have no place in the form of responses
            self._logprobs += logprobs
            extra["logprobs"] = logprobs
        events.append(self._text_event("delta", delta=text, **extra))

    def _write_call(self, call: ToolCallPiece, events: list[Event]) -> None:
        if call.id is not None:
            self._open(
                {"id": new_id("fc"), "type": "function_call", "status": "in_progress", "call_id": call.id,
                 "name": call.name, "arguments": ""}, events,
            )  # fmt: skip
        self._tokens = []
        if call.arguments:
            self._parts.append(call.arguments)
            events.append(self._item_event("response.function_call_arguments.delta", delta=call.arguments))

    def _open(self, item: dict[str, Any], events: list[Event]) -> None:
        self._close("completed", events)
        self._item = item
        self.response["output"].append(item)
        events.append(self._event("response.output_item.added", output_index=self._index, item=_copy(item)))

    def _close(self, status: str, events: list[Event]) -> None:
        item = self._item
        if item is None:
            return
        written, logprobs = "".join(self._parts), self._logprobs
        if item["type"] == "message" and self.ended:
            logprobs = logprobs + self._tokens
        self._parts, self._logprobs = [], []
        if item["type"] == "function_call":
            item["arguments"] = written
            events.append(
                self._item_event("response.function_call_arguments.done", name=item["name"], arguments=written)
            )
        else:
            part = self._part(written, logprobs)
            item["content"] = [part]
            extra = {"logprobs": logprobs} if item["type"] == "message" else {}
            events.append(self._text_event("done", text=written, **extra))
            events.append(self._part_event("done", part))
        item["status"] = status
        events.append(self._event("response.output_item.done", output_index=self._index, item=_copy(item)))
        self._item = None

    def _part(self, text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
        assert self._item is not None
        if self._item["type"] == "reasoning":
            return {"type": "reasoning_text", "text": text}
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}

    # --- events ------------------------------------------------------------------------------------------------

    @property
    def _index(self) -> int:
        return len(self.response["output"]) - 1

    def _event(self, kind: str, **values: Any) -> Event:
        number, self._number = self._number, self._number + 1
        return {"type": kind, "sequence_number": number, **values}

    def _state(self, kind: str) -> Event:
        return self._event(f"response.{kind}", response=_copy(self.response))

    def _item_event(self, kind: str, **values: Any) -> Event:
        assert self._item is not None
        return self._event(kind, item_id=self._item["id"], output_index=self._index, **values)

    def _text_event(self, end: str, **values: Any) -> Event:
        assert self._item is not None
        return self._item_event(f"{_TEXT_EVENTS[self._item['type']]}.{end}", content_index=0, **values)

    def _part_event(self, end: str, part: dict[str, Any]) -> Event:
        return self._item_event(f"response.content_part.{end}", content_index=0, part=part)


def _copy(value: dict[str, Any]) -> dict[str, Any]:
    """What later pieces change is copied; texts are not."""
    copy = dict(value)
    if "output" in copy:
        copy["output"] = [_copy(item) for item in copy["output"]]
    if isinstance(copy.get("content"), list):
        copy["content"] = list(copy["content"])
    return copy


def _message() -> dict[str, Any]:
    return {"id": new_id("msg"), "type": "message", "status": "in_progress", "role": "assistant", "content": []}


def _reasoning() -> dict[str, Any]:
    return {"id": new_id("rs"), "type": "reasoning", "status": "in_progress", "summary": [], "content": []}


def _token(token: TokenInfo) -> dict[str, Any]:
    return {**_plain(token), "top_logprobs": [_plain(item) for item in token.top]}


def _plain(token: TokenInfo) -> dict[str, Any]:
    raw = token.raw if token.raw is not None else token.text.encode()
    return {"token": token.text, "bytes": list(raw), "logprob": finite(token.logprob)}


def usage_of(usage: Usage, reasoning_tokens: int) -> dict[str, Any]:
    """The form of responses."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _head(fields: ResponseRequest, stored: bool) -> dict[str, Any]:
    """A response before anything is written; what the request left to the model is null."""
    choice = fields.tool_choice
    return {
        "id": new_id("resp"),
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": bool(fields.background),
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": fields.instructions,
        "max_output_tokens": fields.max_output_tokens,
        "model": fields.model,
        "output": [],
        "parallel_tool_calls": fields.parallel_tool_calls is not False,
        "previous_response_id": fields.previous_response_id,
        "prompt_cache_key": fields.prompt_cache_key,
        "reasoning": {"effort": fields.reasoning.effort if fields.reasoning else None, "summary": None},
        "safety_identifier": fields.safety_identifier,
        "store": stored,
        "temperature": fields.temperature,
        "text": {"format": _dumped(fields.text.format)},
        "tool_choice": choice if isinstance(choice, str) else "auto" if choice is None else _dumped(choice),
        "tools": [{"parameters": None, "strict": None, **_dumped(tool)} for tool in fields.tools or ()],
        "top_logprobs": fields.top_logprobs,
        "top_p": fields.top_p,
        "truncation": fields.truncation or "disabled",
        "usage": None,
        "user": fields.user,
        "metadata": fields.metadata or {},
    }


def _dumped(value: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return dumped
