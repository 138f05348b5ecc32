"""POST /api/chat"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import ClassVar, TypeVar

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from llmasos.errors import ContextLengthExceeded
from llmasos.i18n import t
from llmasos.server.ollama.answers import Answer, Kind, line, loaded_answer
from llmasos.server.ollama.fields import (
    ChatMessage,
    InferenceFields,
    ToolDefinition,
    messages_of,
    output_format,
    seconds_of,
    tools_of,
)
from llmasos.server.serving.job import Job
from llmasos.server.web.body import InvalidField, Received
from llmasos.server.web.context import Context, RequestContext
from llmasos.server.web.documentation import documented
from llmasos.server.web.streaming import NDJSON, StreamingAnswer

router = APIRouter(tags=["Ollama"])
_Fields = TypeVar("_Fields", bound=InferenceFields)


class ChatRequest(InferenceFields):
    """A conversation to answer. Without messages the model is loaded, or with ``keep_alive: 0`` unloaded."""

    messages: list[ChatMessage] | None = None
    tools: list[ToolDefinition] | None = None
    truncate: bool | None = Field(
        None, description="true: cut the beginning of a conversation that does not fit; without it such a one is "
        "refused.",
    )  # fmt: skip
    shift: bool | None = Field(None, description="false: the output ends where the context does, as it always does.")

    NOT_SUPPORTED: ClassVar[Mapping[str, str]] = {
        "template": "the model has its own; create a model with another",
        "context": "send the messages of the conversation",
    }


def job_of(fields: ChatRequest) -> Job:
    """The job that a request describes.

    Raises:
        InvalidField: fields contradict each other, or a value is not allowed.
    """
    refuse_shift(fields.shift)
    return Job(
        fields.model,
        messages=messages_of(fields.messages or ()),
        options=fields.sampling(),
        tools=tools_of(fields.tools),
        output_format=output_format(fields.format),
        thinking=level_of(fields.think),
        truncate="left" if fields.truncate else None,
        context_limit=fields.context_limit,
        keep_alive=seconds_of(fields.keep_alive),
    )


def level_of(think: bool | str | None) -> bool | str | None:
    """The wish of the field ``think``.

    Raises:
        InvalidField: it is an empty text.
    """
    if think == "":
        raise InvalidField(t("think is empty; allowed are true, false, and a level such as low"), param="think")
    return think


def refuse_shift(shift: bool | None) -> None:
    """Raise InvalidField if the request wants the beginning of a text dropped while it is written."""
    if shift:
        raise InvalidField(
            t("shift = true: nothing of a text is dropped while it is written"), param="shift",
            hint=t("Leave it out; the output ends with done_reason length where the context does."),
        )  # fmt: skip


@router.post("/api/chat", **documented(ChatRequest, "The answer, or lines with parts of it."))
async def chat(context: RequestContext) -> Response:
    """Answer a conversation."""
    started = time.perf_counter()
    received = await context.body(ChatRequest)
    job = job_of(received.fields)
    if not received.fields.messages:
        return await load_or_unload(context, received, "chat", job.keep_alive)
    return await answer(context, received, job, "chat", started)


async def answer(
    context: Context, received: Received[_Fields], job: Job, kind: Kind, started: float,
    *, with_context: bool = False,
) -> Response:  # fmt: skip
    """Run a job and send what comes of it, whole or in lines."""
    fields = received.fields
    context.note(model=fields.model, stream=fields.streams)
    try:
        generation = await context.generate(job)
    except ContextLengthExceeded as error:
        raise too_long(error) from error
    written = Answer(kind, fields.model, generation, started, with_context=with_context)
    if fields.streams:
        return StreamingAnswer(written.lines(context), generation.close, media_type=NDJSON, headers=received.headers)
    try:
        whole = await context.while_connected(written.whole(context))
    finally:
        generation.close()
    return JSONResponse(whole, headers=received.headers)


def too_long(error: ContextLengthExceeded) -> ContextLengthExceeded:
    """The same error with a hint in the words of this API."""
    return ContextLengthExceeded(
        error.message, hint=t("Shorten it, allow more with options.num_ctx, or send truncate: true to have it cut.")
    )


async def load_or_unload(
    context: Context, received: Received[_Fields], kind: Kind, keep_alive: float | None
) -> Response:
    """What a request without a prompt asks for."""
    fields = received.fields
    context.note(model=fields.model, stream=fields.streams)
    if keep_alive == 0:
        await context.service.unload(fields.model)
    else:
        await context.while_connected(context.service.load(fields.model, keep_alive))
    body = loaded_answer(kind, fields.model, "unload" if keep_alive == 0 else "load")
    if fields.streams:
        return Response(line(body), media_type=NDJSON, headers=received.headers)
    return JSONResponse(body, headers=received.headers)
