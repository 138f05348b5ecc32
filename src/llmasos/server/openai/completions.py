"""POST /v1/completions"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from llmasos.engine.request import Usage
from llmasos.errors import LLMasOSError
from llmasos.i18n import t
from llmasos.server.openai.chat import DONE, finite, usage_of
from llmasos.server.openai.fields import ResponseFormat, SamplingFields, StreamOptions, output_format
from llmasos.server.serving.job import Finished, Generation, Job, Output, TokenInfo, finish
from llmasos.server.web.body import InvalidField
from llmasos.server.web.context import Context, RequestContext
from llmasos.server.web.documentation import documented
from llmasos.server.web.errors import openai_body
from llmasos.server.web.streaming import StreamingAnswer, event

router = APIRouter(tags=["OpenAI"])
Ids = Annotated[list[int], Field(min_length=1)]


class CompletionRequest(SamplingFields):
    """Texts to continue."""

    prompt: str | list[str] | list[Ids] | Ids = Field(description="A text, token ids, or a list of either.")
    max_tokens: int | None = Field(16, ge=0, description="Most tokens of output.")
    best_of: int | None = Field(None, ge=1, le=128, description="Outputs made, of which the n likeliest are returned.")
    echo: bool | None = Field(None, description="Put the prompt before the output.")
    logprobs: int | None = Field(None, ge=0, le=20, description="Alternatives reported with each token.")
    response_format: ResponseFormat | None = Field(None, description="text, json_object or json_schema.")

    NOT_SUPPORTED: ClassVar[Mapping[str, str]] = {
        "suffix": "the models here do not fill in the middle through this field; write their markers into the prompt",
    }


def jobs_of(fields: CompletionRequest) -> list[Job]:
    """A job for each prompt.

    Raises:
        InvalidField: fields contradict each other.
    """
    if fields.stream_options is not None and not fields.stream:
        raise InvalidField(t("stream_options needs stream: true"), param="stream_options")
    if fields.best_of is not None and fields.best_of < (fields.n or 1):
        raise InvalidField(
            t("best_of = {best_of} is below n = {n}", best_of=fields.best_of, n=fields.n), param="best_of"
        )
    if fields.best_of is not None and fields.stream:
        raise InvalidField(t("best_of cannot be streamed: the best is known at the end"), param="best_of")
    if fields.max_tokens == 0 and not fields.echo:
        raise InvalidField(t("max_tokens = 0 needs echo: true"), param="max_tokens")
    options = fields.sampling()
    options["max_tokens"] = fields.max_tokens
    options["best_of"] = fields.best_of
    options["echo"] = fields.echo
    options["logprobs"] = fields.logprobs
    if fields.echo and fields.logprobs is not None:
        options["prompt_logprobs"] = fields.logprobs
    return [
        Job(
            fields.model, prompt=prompt, options=options, truncate=fields.truncate, deadline_seconds=fields.timeout,
            output_format=output_format(fields.response_format, fields.structured_outputs),
            priority=fields.priority or 0,
        )
        for prompt in _prompts(fields.prompt)
    ]  # fmt: skip


def _prompts(prompt: str | list[str] | list[list[int]] | list[int]) -> Sequence[str | list[int]]:
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        raise InvalidField(t("prompt is an empty list"), param="prompt")
    if isinstance(prompt[0], int):
        return [prompt]
    return prompt


@router.post("/v1/completions", **documented(CompletionRequest, "A completion, or a stream of its chunks."))
async def completions(context: RequestContext) -> Response:
    """Continue texts."""
    received = await context.body(CompletionRequest)
    fields = received.fields
    context.note(model=fields.model, user=fields.user, stream=bool(fields.stream))
    jobs = jobs_of(fields)
    generations: list[Generation] = []

    def close() -> None:
        for generation in generations:
            generation.close()

    try:
        for job in jobs:
            generations.append(await context.generate(job))  # noqa: PERF401 - what is open is closed on failure
    except BaseException:
        close()
        raise
    created = int(time.time())
    head = {
        "id": f"cmpl-{context.request_id}", "object": "text_completion", "created": created, "model": fields.model,
        "system_fingerprint": context.fingerprint,
    }  # fmt: skip
    if fields.stream:
        return StreamingAnswer(_chunks(generations, context, fields, head), close, headers=received.headers)
    try:
        finished = [await context.while_connected(finish(generation)) for generation in generations]
    finally:
        close()
    usage = _sum([item.usage for item in finished])
    context.usage(usage)
    choices = [
        _choice(number * (fields.n or 1) + output.index, output, item, generation, fields)
        for number, (item, generation) in enumerate(zip(finished, generations, strict=True))
        for output in item.outputs
    ]
    return JSONResponse({**head, "choices": choices, "usage": usage_of(usage)}, headers=received.headers)


def _sum(usages: Sequence[Usage]) -> Usage:
    return Usage(
        sum(item.prompt_tokens for item in usages),
        sum(item.completion_tokens for item in usages),
        sum(item.cached_tokens for item in usages),
        speculative_proposed=sum(item.speculative_proposed for item in usages),
        speculative_accepted=sum(item.speculative_accepted for item in usages),
    )


def _choice(
    index: int, output: Output, finished: Finished, generation: Generation, fields: CompletionRequest
) -> dict[str, Any]:
    logprobs = None
    if fields.logprobs is not None:
        tokens: list[TokenInfo | None] = list(output.logprobs or ())
        if fields.echo and finished.prompt_logprobs is not None:
            tokens = [*finished.prompt_logprobs, *tokens]
        logprobs = _logprobs(tokens, output.text)
    return {
        "index": index, "text": output.text, "logprobs": logprobs, "finish_reason": output.finish_reason,
        "stop_reason": output.stop,
    }  # fmt: skip


def _logprobs(tokens: Sequence[TokenInfo | None], text: str) -> dict[str, Any]:
    """OpenAI's older form. The first token of a prompt has no log-probability; its text is what the others leave."""
    rest = sum(len(token.text) for token in tokens if token is not None)
    texts = [token.text if token is not None else text[: max(len(text) - rest, 0)] for token in tokens]
    offsets, position = [], 0
    for piece in texts:
        offsets.append(position)
        position += len(piece)
    return {
        "tokens": texts,
        "token_logprobs": [None if token is None else finite(token.logprob) for token in tokens],
        "top_logprobs": [
            None if token is None else {item.text: finite(item.logprob) for item in token.top} for token in tokens
        ],
        "text_offset": offsets,
    }


async def _chunks(
    generations: Sequence[Generation], context: Context, fields: CompletionRequest, head: dict[str, Any]
) -> AsyncIterator[bytes]:
    """The prompts one after the other: their outputs are computed together, and numbered in order."""
    usages: list[Usage] = []
    options = fields.stream_options or StreamOptions()
    read, written = sum(len(generation.prompt_ids or ()) for generation in generations), 0
    try:
        for number, generation in enumerate(generations):
            while True:
                pieces = await generation.read()
                for piece in pieces:
                    tokens: list[TokenInfo | None] = list(piece.logprobs or ())
                    if piece.prompt_logprobs is not None:
                        tokens = [*piece.prompt_logprobs, *tokens]
                    choice = {
                        "index": number * (fields.n or 1) + piece.index,
                        "text": piece.text,
                        "logprobs": _logprobs(tokens, piece.text) if fields.logprobs is not None else None,
                        "finish_reason": piece.finish_reason,
                        "stop_reason": piece.stop,
                    }
                    written += len(piece.token_ids)
                    extra = {"usage": usage_of(Usage(read, written))} if options.continuous_usage_stats else {}
                    if piece.text or tokens or piece.finish_reason:
                        yield event({**head, "choices": [choice], **extra})
                if pieces[-1].usage is not None:
                    usages.append(pieces[-1].usage)
                    break
    except LLMasOSError as error:
        context.failed(error)
        yield event(openai_body(error, error.http_status, context.request_id))
        yield DONE
        return
    usage = _sum(usages)
    context.usage(usage)
    if options.include_usage:
        yield event({**head, "choices": [], "usage": usage_of(usage)})
    yield DONE
