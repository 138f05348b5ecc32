"""POST /v1/chat/completions"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import Field, JsonValue

from llmasos.engine.request import Usage
from llmasos.errors import LLMasOSError
from llmasos.i18n import t
from llmasos.server.openai.fields import (
    ChatMessage,
    ResponseFormat,
    SamplingFields,
    StreamOptions,
    messages_of,
    output_format,
)
from llmasos.server.serving.job import Generation, Job, Output, Piece, TokenInfo, ToolCallPiece, finish
from llmasos.server.web.body import Fields, InvalidField
from llmasos.server.web.context import Context, RequestContext
from llmasos.server.web.documentation import documented
from llmasos.server.web.errors import openai_body
from llmasos.server.web.streaming import StreamingAnswer, event, to_json

router = APIRouter(tags=["OpenAI"])
DONE = b"data: [DONE]\n\n"


class FunctionName(Fields):
    """Which function must be called."""

    name: str


class NamedTool(Fields):
    """A call of this tool is required."""

    type: Literal["function"]
    function: FunctionName


class FunctionDefinition(Fields):
    """A function that the model may call."""

    name: str
    description: str | None = None
    parameters: dict[str, JsonValue] | None = Field(None, description="JSON schema of the arguments.")
    strict: bool | None = Field(None, description="Arguments always follow the schema; true and false do the same.")


class ToolDefinition(Fields):
    """A tool."""

    type: Literal["function"]
    function: FunctionDefinition


class ChatRequest(SamplingFields):
    """A conversation to answer."""

    messages: list[ChatMessage] = Field(min_length=1, description="The conversation, oldest first.")
    max_tokens: int | None = Field(None, ge=1, description="Most tokens of output; default: the rest of the context.")
    max_completion_tokens: int | None = Field(None, ge=1, description="Most tokens of output; the newer name.")
    logprobs: bool | None = Field(None, description="Report the log-probability of each token.")
    top_logprobs: int | None = Field(None, ge=0, le=20, description="Alternatives reported with each token.")
    response_format: ResponseFormat | None = Field(None, description="text, json_object or json_schema.")
    tools: list[ToolDefinition] | None = Field(None, description="Functions that the model may call.")
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = Field(
        None, description="Whether a call is made: none, auto, required, or a named tool."
    )
    parallel_tool_calls: bool | None = Field(None, description="false: at most one call.")
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = Field(
        None, description="none switches thinking off, anything else on, where the model's template can."
    )
    chat_template_kwargs: dict[str, JsonValue] | None = Field(None, description="Variables of the chat template.")
    continue_final_message: bool | None = Field(None, description="Go on with the assistant's last message.")
    include_reasoning: bool | None = Field(None, description="false leaves thinking inside the text.")

    NOT_SUPPORTED: ClassVar[Mapping[str, str]] = {
        "audio": "the models here write text",
        "modalities": "the models here write text",
        "prediction": "speculation needs no hints here",
        "web_search_options": "the server does not search the web",
        "function_call": "use tool_choice",
        "functions": "use tools",
        "metadata": "nothing is stored",
        "store": "nothing is stored",
        "service_tier": "there is one",
        "verbosity": "the models here have no such setting",
        "prompt_cache_key": "prefixes are shared without it",
        "safety_identifier": "use user",
        "logit_processors": "not part of this API",
    }


def job_of(fields: ChatRequest) -> Job:
    """The job that a request describes.

    Raises:
        InvalidField: fields contradict each other.
    """
    options = fields.sampling()
    if fields.max_tokens is not None and fields.max_completion_tokens is not None:
        raise InvalidField(
            t("max_tokens and max_completion_tokens mean the same; give one"), param="max_completion_tokens"
        )
    options["max_tokens"] = fields.max_completion_tokens or fields.max_tokens
    if fields.top_logprobs is not None and not fields.logprobs:
        raise InvalidField(t("top_logprobs needs logprobs: true"), param="top_logprobs")
    if fields.logprobs:
        options["logprobs"] = fields.top_logprobs or 0
    if fields.stream_options is not None and not fields.stream:
        raise InvalidField(t("stream_options needs stream: true"), param="stream_options")
    choice = fields.tool_choice
    variables: dict[str, Any] = dict(fields.chat_template_kwargs or {})
    if fields.reasoning_effort is not None:
        variables.setdefault("enable_thinking", fields.reasoning_effort != "none")
    return Job(
        fields.model,
        messages=messages_of(fields.messages),
        options=options,
        tools=[tool.model_dump(exclude_none=True) for tool in fields.tools or ()],
        tool_choice=choice.model_dump() if isinstance(choice, NamedTool) else choice or "auto",
        parallel_tool_calls=fields.parallel_tool_calls is not False,
        output_format=output_format(fields.response_format, fields.structured_outputs),
        template_variables=variables,
        continue_last=bool(fields.continue_final_message),
        split_reasoning=fields.include_reasoning is not False,
        truncate=fields.truncate,
        deadline_seconds=fields.timeout,
        priority=fields.priority or 0,
    )


@router.post("/v1/chat/completions", **documented(ChatRequest, "A chat completion, or a stream of its chunks."))
async def chat_completions(context: RequestContext) -> Response:
    """Answer a conversation."""
    received = await context.body(ChatRequest)
    fields = received.fields
    context.note(model=fields.model, user=fields.user, stream=bool(fields.stream))
    generation = await context.generate(job_of(fields))
    created = int(time.time())
    if fields.stream:
        options = fields.stream_options or StreamOptions()
        return StreamingAnswer(
            _chunks(generation, context, fields, created, options), generation.close, headers=received.headers
        )
    try:
        finished = await context.while_connected(finish(generation))
    finally:
        generation.close()
    context.usage(finished.usage)
    answer = {
        "id": f"chatcmpl-{context.request_id}",
        "object": "chat.completion",
        "created": created,
        "model": fields.model,
        "choices": [_choice(output) for output in finished.outputs],
        "usage": usage_of(finished.usage),
        "system_fingerprint": context.fingerprint,
    }
    return JSONResponse(answer, headers=received.headers)


def usage_of(usage: Usage) -> dict[str, Any]:
    """OpenAI's form."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {
            "accepted_prediction_tokens": usage.speculative_accepted,
            "rejected_prediction_tokens": usage.speculative_proposed - usage.speculative_accepted,
        },
    }


def _choice(output: Output) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": output.text, "refusal": None}
    if output.reasoning:
        message["reasoning_content"] = output.reasoning
    if output.tool_calls:
        message["tool_calls"] = [_call(call) for call in output.tool_calls]
        message["content"] = output.text or None
    return {
        "index": output.index,
        "message": message,
        "logprobs": logprobs_of(output.logprobs),
        "finish_reason": output.finish_reason,
        "stop_reason": output.stop,
    }


def _call(call: ToolCallPiece) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def logprobs_of(tokens: Sequence[TokenInfo] | None) -> dict[str, Any] | None:
    """OpenAI's form for chats."""
    if tokens is None:
        return None
    return {
        "content": [{**_token(token), "top_logprobs": [_token(item) for item in token.top]} for token in tokens],
        "refusal": None,
    }


def _token(token: TokenInfo) -> dict[str, Any]:
    raw = token.raw if token.raw is not None else token.text.encode()
    return {"token": token.text, "logprob": finite(token.logprob), "bytes": list(raw)}


def finite(logprob: float) -> float:
    """JSON has no infinity; OpenAI writes the log-probability of the impossible as -9999."""
    return max(logprob, -9999.0)


async def _chunks(
    generation: Generation, context: Context, fields: ChatRequest, created: int, options: StreamOptions
) -> AsyncIterator[bytes]:
    head = (
        f'data: {{"id":"chatcmpl-{context.request_id}","object":"chat.completion.chunk","created":{created},'
        f'"model":{to_json(fields.model)},"system_fingerprint":"{context.fingerprint}",'
    )
    none = ',"usage":null' if options.include_usage else ""
    written = 0
    for index in range(fields.n or 1):
        first = f'"choices":[{{"index":{index},"delta":{{"role":"assistant","content":""}},"logprobs":null,'
        yield f'{head}{first}"finish_reason":null}}]{none}}}\n\n'.encode()
    try:
        while True:
            pieces = await generation.read()
            if options.continuous_usage_stats:
                written += sum(len(piece.token_ids) for piece in pieces)
                so_far = Usage(len(generation.prompt_ids or ()), written)
                none = f',"usage":{to_json(usage_of(so_far))}'
            yield "".join([_chunk(piece, head, none) for piece in pieces]).encode()
            usage = pieces[-1].usage
            if usage is not None:
                break
    except LLMasOSError as error:
        context.failed(error)
        yield event(openai_body(error, error.http_status, context.request_id))
        yield DONE
        return
    context.usage(usage)
    if options.include_usage:
        yield f'{head}"choices":[],"usage":{to_json(usage_of(usage))}}}\n\n'.encode()
    yield DONE


def _chunk(piece: Piece, head: str, tail: str) -> str:
    """Chunks are written by hand: there is one for every token of every stream."""
    delta = ""
    if piece.text:
        delta = f'"content":{to_json(piece.text)}'
    if piece.reasoning:
        delta += f'{"," if delta else ""}"reasoning_content":{to_json(piece.reasoning)}'
    if piece.tool_calls:
        delta += f'{"," if delta else ""}"tool_calls":{to_json([_call_delta(call) for call in piece.tool_calls])}'
    if not delta and piece.finish_reason is None and not piece.logprobs:
        return ""
    logprobs = "null" if piece.logprobs is None else to_json(logprobs_of(piece.logprobs))
    if piece.finish_reason is None:
        end = '"finish_reason":null'
    else:
        end = f'"finish_reason":"{piece.finish_reason}","stop_reason":{to_json(piece.stop)}'
    return f'{head}"choices":[{{"index":{piece.index},"delta":{{{delta}}},"logprobs":{logprobs},{end}}}]{tail}}}\n\n'


def _call_delta(call: ToolCallPiece) -> dict[str, Any]:
    if call.id is None:
        return {"index": call.index, "function": {"arguments": call.arguments}}
    return {
        "index": call.index, "id": call.id, "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }  # fmt: skip
