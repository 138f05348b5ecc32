"""POST /v1/messages and POST /v1/messages/count_tokens"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from llmasos.errors import LLMasOSError
from llmasos.server.anthropic.fields import CountRequest, MessagesRequest
from llmasos.server.anthropic.translation import job_of
from llmasos.server.anthropic.writer import MessageWriter
from llmasos.server.serving.fitting import count_prompt
from llmasos.server.serving.job import Generation, Piece
from llmasos.server.web.context import Context, RequestContext
from llmasos.server.web.documentation import documented
from llmasos.server.web.errors import anthropic_body
from llmasos.server.web.streaming import StreamingAnswer, event

router = APIRouter(tags=["Anthropic"])
PING_SECONDS = 15.0
_PING = event({"type": "ping"}, "ping")


@router.post("/v1/messages", **documented(MessagesRequest, "A message, or a stream of the events that make it."))
async def messages(context: RequestContext) -> Response:
    """Answer a conversation."""
    received = await context.body(MessagesRequest)
    fields = received.fields
    user = fields.metadata.user_id if fields.metadata is not None else None
    context.note(model=fields.model, user=user, stream=bool(fields.stream))
    generation = await context.generate(job_of(fields))
    writer = MessageWriter(
        f"msg_{context.request_id.removeprefix('req_')}",
        fields.model,
        max_tokens=fields.max_tokens,
        stop_sequences=fields.stop_sequences or (),
        prompt_tokens=len(generation.prompt_ids or ()),
        show_thinking=fields.thinking is None or fields.thinking.display != "omitted",
    )
    if fields.stream:
        return StreamingAnswer(_events(generation, writer, context), generation.close, headers=received.headers)
    try:
        await context.while_connected(_finish(generation, writer))
    finally:
        generation.close()
    assert writer.usage is not None
    context.usage(writer.usage)
    return JSONResponse(writer.message, headers=received.headers)


async def _finish(generation: Generation, writer: MessageWriter) -> None:
    while writer.usage is None:
        writer.add(await generation.read())


async def _events(generation: Generation, writer: MessageWriter, context: Context) -> AsyncIterator[bytes]:
    yield _encoded(writer.begin())
    reading: asyncio.Future[list[Piece]] | None = None
    try:
        while writer.usage is None:
            reading = reading or asyncio.ensure_future(generation.read())
            await asyncio.wait((reading,), timeout=PING_SECONDS)
            if not reading.done():
                yield _PING
                continue
            pieces, reading = reading.result(), None
            yield _encoded(writer.add(pieces))
    except LLMasOSError as error:
        context.failed(error)
        yield event(anthropic_body(error, error.http_status, context.request_id), "error")
        return
    finally:
        if reading is not None:
            reading.cancel()
    context.usage(writer.usage)


def _encoded(events: list[dict[str, Any]]) -> bytes:
    return b"".join([event(item, item["type"]) for item in events])


@router.post("/v1/messages/count_tokens", **documented(CountRequest, "The number of tokens of the prompt."))
async def count_tokens(context: RequestContext) -> Response:
    """Count the tokens of a conversation with all that its template adds."""
    received = await context.body(CountRequest)
    context.note(model=received.fields.model)
    tokens = await context.while_connected(count_prompt(context.service, job_of(received.fields)))
    return JSONResponse({"input_tokens": tokens}, headers=received.headers)
