"""POST /v1/responses, and what becomes of a response: retrieve, follow, cancel, delete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response

from llmasos.errors import InvalidRequest, did_you_mean
from llmasos.i18n import t
from llmasos.server.openai.responses.conversation import Conversation, kept_items
from llmasos.server.openai.responses.fields import (
    FunctionTool,
    InputTokensRequest,
    Reasoning,
    ResponseRequest,
    TextConfig,
)
from llmasos.server.openai.responses.making import finish, keep, start, stream
from llmasos.server.openai.responses.store import Record, ResponseStore
from llmasos.server.openai.responses.translation import job_of
from llmasos.server.openai.responses.writer import ResponseWriter
from llmasos.server.serving.fitting import count_prompt, drop_oldest_turns
from llmasos.server.serving.job import Job
from llmasos.server.web.body import WARNING_HEADER, Fields, InvalidField, Received
from llmasos.server.web.context import Context, RequestContext
from llmasos.server.web.documentation import documented
from llmasos.server.web.streaming import StreamingAnswer

router = APIRouter(tags=["OpenAI"])
BODIES: dict[str, type[Fields]] = {
    "/v1/responses": ResponseRequest,
    "/v1/responses/input_tokens": InputTokensRequest,
    "tools": FunctionTool,
    "text": TextConfig,
    "reasoning": Reasoning,
}
Limit = Annotated[int, Query(ge=1, le=100)]


class PreviousResponseNotFound(InvalidField):
    """The response to go on from is not kept, or belongs to another key."""

    code: ClassVar[str] = "previous_response_not_found"


def _store(context: Context) -> ResponseStore:
    store: ResponseStore = context.request.app.state.responses
    return store


@router.post("/v1/responses", **documented(ResponseRequest, "A response, or a stream of the events that make it."))
async def create_response(context: RequestContext) -> Response:
    """Answer an input."""
    received = await context.body(ResponseRequest)
    fields = received.fields
    context.note(model=fields.model, user=fields.user or fields.safety_identifier, stream=bool(fields.stream))
    store = _store(context)
    stored = _is_stored(fields, store)
    previous, conversation = _conversation(fields, context)
    job = job_of(fields, conversation.with_instructions(fields.instructions))
    job, dropped = await _fitted(fields, job, context)
    headers = _headers(received, dropped)
    generation = await context.generate(job)
    writer = ResponseWriter(fields, stored=stored, dropped_messages=dropped)
    record = Record(
        context.caller.owner,
        writer.response,
        kept_items(fields.input),
        conversation.messages,
        earlier_size=previous.size if previous is not None else 0,
    )
    if fields.background:
        record.events = [] if fields.stream else None
        start(generation, writer, store, record)
        if fields.stream:
            return StreamingAnswer(record.follow(0), _nothing, headers=headers)
        return JSONResponse(writer.response, headers=headers)
    if fields.stream:
        events = stream(generation, writer, context, store, record if stored else None)
        return StreamingAnswer(events, generation.close, headers=headers)
    try:
        await context.while_connected(finish(generation, writer))
    finally:
        generation.close()
    assert writer.usage is not None
    context.usage(writer.usage)
    if stored:
        keep(store, record)
    return JSONResponse(writer.response, headers=headers)


def _nothing() -> None:
    """A response in the background goes on without its client."""


def _is_stored(fields: ResponseRequest, store: ResponseStore) -> bool:
    if fields.stream_options is not None and not fields.stream:
        raise InvalidField(t("stream_options needs stream: true"), param="stream_options")
    if fields.store and not store.kept:
        raise InvalidField(
            t("store: this server keeps no responses"), param="store",
            hint=t("Start the server with responses_kept above 0."),
        )  # fmt: skip
    stored = fields.store is not False and store.kept > 0
    if fields.background and not stored:
        raise InvalidField(
            t("background needs store: true, and a server that keeps responses"), param="background",
            hint=t("Start the server with responses_kept above 0."),
        )  # fmt: skip
    return stored


def _conversation(fields: InputTokensRequest, context: Context) -> tuple[Record | None, Conversation]:
    """The response to go on from, and all messages up to this request's."""
    previous = None
    if fields.previous_response_id is not None:
        previous = _previous(fields.previous_response_id, context)
    conversation = Conversation(previous.conversation if previous is not None else ())
    conversation.add(fields.input)
    return previous, conversation


def _previous(id: str, context: Context) -> Record:
    store = _store(context)
    record = store.find(context.caller.owner, id)
    if record is None:
        raise PreviousResponseNotFound(
            t("previous_response_id: there is no response {id!r} here", id=id),
            param="previous_response_id",
            hint=t("The server keeps the last {kept} in memory until it stops.", kept=store.kept),
        )
    if record.running:
        raise InvalidField(
            t("previous_response_id: response {id!r} is still being made", id=id), param="previous_response_id",
            hint=t("Wait for it, or cancel it."),
        )  # fmt: skip
    return record


async def _fitted(fields: InputTokensRequest, job: Job, context: Context) -> tuple[Job, int]:
    if fields.truncation != "auto":
        return job, 0
    return await context.while_connected(drop_oldest_turns(context.service, job))


def _headers(received: Received[Any], dropped: int) -> dict[str, str]:
    headers = received.headers
    if dropped:
        warnings = [headers[WARNING_HEADER]] if WARNING_HEADER in headers else []
        headers[WARNING_HEADER] = "; ".join([*warnings, f"truncated: the oldest {dropped} messages"])
    return headers


@router.post("/v1/responses/input_tokens", **documented(InputTokensRequest, "The number of tokens of the prompt."))
async def count_input_tokens(context: RequestContext) -> Response:
    """Count the tokens of an input with all that its template adds."""
    received = await context.body(InputTokensRequest)
    fields = received.fields
    context.note(model=fields.model)
    _, conversation = _conversation(fields, context)
    job = job_of(fields, conversation.with_instructions(fields.instructions))
    job, dropped = await _fitted(fields, job, context)
    tokens = await context.while_connected(count_prompt(context.service, job))
    return JSONResponse(
        {"object": "response.input_tokens", "input_tokens": tokens}, headers=_headers(received, dropped)
    )


@router.get("/v1/responses/{response_id}", **documented(None, "The response as it is now, or its events."))
async def retrieve_response(
    response_id: str, context: RequestContext, stream: bool = False, starting_after: int | None = None
) -> Response:
    """Look at a response, or follow one that is streamed from the background."""
    _check_query(context, "stream", "starting_after", "include", "include_obfuscation")
    record = _store(context).get(context.caller.owner, response_id)
    if not stream:
        if starting_after is not None:
            raise InvalidField(t("starting_after needs stream: true"), param="starting_after")
        return JSONResponse(record.response)
    if record.events is None:
        raise InvalidField(
            t("response {id!r} was not made with background and stream, so its events are not kept", id=response_id),
            param="stream", hint=t("Leave stream out."),
        )  # fmt: skip
    return StreamingAnswer(record.follow(0 if starting_after is None else max(0, starting_after + 1)), _nothing)


@router.post("/v1/responses/{response_id}/cancel", **documented(None, "The response as it was left."))
async def cancel_response(response_id: str, context: RequestContext) -> Response:
    """Stop a response in the background; one that has ended stays as it is."""
    store = _store(context)
    record = store.get(context.caller.owner, response_id)
    if not record.response["background"]:
        raise InvalidRequest(
            t("response {id!r} is not made in the background", id=response_id),
            hint=t("Close the connection to stop any other."),
        )
    await store.cancel(record)
    return JSONResponse(record.response)


@router.delete("/v1/responses/{response_id}", **documented(None, "That it is gone."))
async def delete_response(response_id: str, context: RequestContext) -> Response:
    """Forget a response; later ones that went on from it stay whole."""
    store = _store(context)
    await store.delete(store.get(context.caller.owner, response_id))
    return JSONResponse({"id": response_id, "object": "response", "deleted": True})


@router.get("/v1/responses/{response_id}/input_items", **documented(None, "The items of the request."))
async def list_input_items(
    response_id: str,
    context: RequestContext,
    after: str | None = None,
    limit: Limit = 20,
    order: Literal["asc", "desc"] = "desc",
) -> Response:
    """List what a response was asked; what came before by previous_response_id is listed there."""
    _check_query(context, "after", "limit", "order", "include")
    items = _store(context).get(context.caller.owner, response_id).input_items
    if order == "desc":
        items = items[::-1]
    first = 0
    if after is not None:
        ids = [item["id"] for item in items]
        if after not in ids:
            raise InvalidField(t("after: there is no item {id!r}", id=after), param="after")
        first = ids.index(after) + 1
    data = items[first : first + limit]
    return JSONResponse(
        {
            "object": "list", "data": data, "has_more": first + limit < len(items),
            "first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None,
        }
    )  # fmt: skip


_INCLUDABLE = ("message.output_text.logprobs", "reasoning.encrypted_content")


def _check_query(context: Context, *allowed: str) -> None:
    """Refuse what a query asks for and does not get.

    Raises:
        InvalidField: a parameter is unknown, or names what is not done here.
    """
    query = context.request.query_params
    for name in query:
        known = name.removesuffix("[]")
        if known not in allowed:
            hint = did_you_mean(name, allowed)
            raise InvalidField(t("{where}: unknown field", where=name), param=name, hint=hint)
        values: Sequence[str] = query.getlist(name)
        if known == "include" and not set(values) <= set(_INCLUDABLE):
            raise InvalidField(
                t("{name} = {value}: allowed is {allowed}", name=name, value=", ".join(values),
                  allowed=", ".join(_INCLUDABLE)),
                param=name,
            )  # fmt: skip
        if known == "include_obfuscation" and values[-1].lower() != "false":
            raise InvalidField(
                t("{name} = {value}: allowed is {allowed}", name=name, value=values[-1], allowed="false"), param=name
            )
