"""Between jobs and pieces here and the bodies of OpenAI-compatible servers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llmasos.engine.request import Grammar, Usage
from llmasos.errors import Unsupported
from llmasos.i18n import t
from llmasos.server.serving.job import Job, Piece, PieceEnd, TokenInfo, ToolCallPiece

_ENDS: dict[str, PieceEnd] = {
    "stop": "stop", "length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls",
}  # fmt: skip


def completion_body(job: Job, model: str) -> tuple[str, dict[str, Any]]:
    """Path and body of a streaming request.

    Raises:
        Unsupported: the job has something that this API has no word for.
    """
    if job.truncate is not None:
        raise Unsupported(t("{field} is not possible for a model of another server", field="truncate"))
    if job.context_ids:
        raise Unsupported(t("{field} is not possible for a model of another server", field="context"))
    if job.context_limit is not None:
        raise Unsupported(t("{field} is not possible for a model of another server", field="num_ctx"))
    if job.continue_last:
        raise Unsupported(t("{field} is not possible for a model of another server", field="continue_final_message"))
    body: dict[str, Any] = {"model": model, "stream": True, "stream_options": {"include_usage": True}}
    options = {name: value for name, value in job.options.items() if value is not None}
    if "logit_bias" in options:
        options["logit_bias"] = {str(key): value for key, value in options["logit_bias"].items()}
    logprobs = options.pop("logprobs", None)
    options.pop("prompt_logprobs", None)
    if job.messages is not None:
        body["messages"] = [_message(message) for message in job.messages]
        if logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": logprobs}
        if job.tools:
            body |= {
                "tools": list(job.tools), "tool_choice": job.tool_choice,
                "parallel_tool_calls": job.parallel_tool_calls,
            }  # fmt: skip
        variables = dict(job.template_variables)
        if isinstance(job.thinking, bool):
            variables.setdefault("enable_thinking", job.thinking)
        elif job.thinking is not None:
            body["reasoning_effort"] = job.thinking
        if variables:
            body["chat_template_kwargs"] = variables
    else:
        body["prompt"] = job.prompt if isinstance(job.prompt, str) else list(job.prompt or ())
        if logprobs is not None:
            body["logprobs"] = logprobs
    if job.output_format is not None:
        body |= _format(job.output_format)
    if job.priority:
        body["priority"] = job.priority
    return "/chat/completions" if job.messages is not None else "/completions", {**body, **options}


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of calls go over the wire as text."""
    plain = dict(message)
    if plain.get("tool_calls"):
        plain["tool_calls"] = [
            {**call, "function": {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}}
            for call in plain["tool_calls"]
        ]
    return plain


def _format(grammar: Grammar) -> dict[str, Any]:
    source = grammar.source
    match grammar.kind:
        case "json":
            return {"response_format": {"type": "json_object"}}
        case "json_schema":
            schema = json.loads(source) if isinstance(source, str) else source
            return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}}
        case "choice":
            return {"structured_outputs": {"choice": list(source) if isinstance(source, tuple) else source}}
        case "lark":
            return {"structured_outputs": {"grammar": source}}
        case _:
            return {"structured_outputs": {grammar.kind: source}}


def usage_of_chunk(chunk: Mapping[str, Any]) -> Usage | None:
    """The usage that a chunk carries, if any."""
    usage = chunk.get("usage")
    if not isinstance(usage, Mapping):
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else 0
    return Usage(int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0), int(cached or 0))


def pieces_of_chunk(chunk: Mapping[str, Any], *, chat: bool) -> list[Piece]:
    """What a chunk tells of each output."""
    pieces = []
    for choice in chunk.get("choices") or ():
        delta = (choice.get("delta") or {}) if chat else {"content": choice.get("text")}
        piece = Piece(
            int(choice.get("index") or 0),
            delta.get("content") or "",
            delta.get("reasoning_content") or delta.get("reasoning") or "",
            [_call(call) for call in delta.get("tool_calls") or ()],
        )
        logprobs = choice.get("logprobs")
        if isinstance(logprobs, Mapping):
            piece.logprobs = _chat_logprobs(logprobs) if chat else _text_logprobs(logprobs)
        end = choice.get("finish_reason")
        if end is not None:
            piece.finish_reason = _ENDS.get(end, "stop")
            piece.stop = choice.get("stop_reason")
        if piece.text or piece.reasoning or piece.tool_calls or piece.finish_reason or piece.logprobs:
            pieces.append(piece)
    return pieces


def _call(call: Mapping[str, Any]) -> ToolCallPiece:
    function = call.get("function") or {}
    return ToolCallPiece(
        int(call.get("index") or 0), call.get("id"), function.get("name"), function.get("arguments") or ""
    )


def _token(item: Mapping[str, Any]) -> TokenInfo:
    raw = item.get("bytes")
    return TokenInfo(-1, str(item.get("token")), bytes(raw) if raw else None, float(item.get("logprob") or 0.0))


def _chat_logprobs(logprobs: Mapping[str, Any]) -> list[TokenInfo]:
    tokens = []
    for item in logprobs.get("content") or ():
        token = _token(item)
        token.top = [_token(other) for other in item.get("top_logprobs") or ()]
        tokens.append(token)
    return tokens


def _text_logprobs(logprobs: Mapping[str, Any]) -> list[TokenInfo]:
    tops = logprobs.get("top_logprobs") or []
    tokens = []
    for index, (text, value) in enumerate(
        zip(logprobs.get("tokens") or (), logprobs.get("token_logprobs") or (), strict=False)
    ):
        token = TokenInfo(-1, text, None, float(value or 0.0))
        top = tops[index] if index < len(tops) else None
        if isinstance(top, Mapping):
            token.top = [TokenInfo(-1, other, None, float(logprob)) for other, logprob in top.items()]
        tokens.append(token)
    return tokens
