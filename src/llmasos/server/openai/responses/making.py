"""Making responses: for a client that waits, and in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from llmasos.errors import LLMasOSError
from llmasos.i18n import t
from llmasos.server.openai.responses.conversation import Conversation
from llmasos.server.openai.responses.store import Record, ResponseStore
from llmasos.server.openai.responses.writer import ResponseWriter
from llmasos.server.serving.job import Generation
from llmasos.server.web.context import Context
from llmasos.server.web.streaming import event

logger = logging.getLogger(__name__)


def encoded(events: list[dict[str, Any]]) -> bytes:
    """Events as a stream has them."""
    return b"".join([event(item, item["type"]) for item in events])


async def finish(generation: Generation, writer: ResponseWriter) -> None:
    """Make the whole response.

    Raises:
        LLMasOSError: the generation failed on the way.
    """
    writer.begin()
    while not writer.ended:
        writer.add(await generation.read())


def keep(store: ResponseStore, record: Record) -> None:
    """Keep a response that has ended, with the conversation up to its end."""
    conversation = Conversation(record.conversation)
    conversation.add_output(record.response["output"])
    record.conversation = conversation.messages
    store.put(record)


async def stream(
    generation: Generation, writer: ResponseWriter, context: Context, store: ResponseStore, record: Record | None
) -> AsyncIterator[bytes]:
    """The events of a response as it is made; kept, if there is a record, once it has ended well."""
    yield encoded(writer.begin())
    try:
        while not writer.ended:
            pieces = await generation.read()
            events = writer.add(pieces)
            if writer.ended and record is not None:
                keep(store, record)
            yield encoded(events)
    except LLMasOSError as error:
        context.failed(error)
        yield encoded(writer.fail(error))
        return
    assert writer.usage is not None
    context.usage(writer.usage)


def start(generation: Generation, writer: ResponseWriter, store: ResponseStore, record: Record) -> None:
    """Begin to make a response in the background."""
    _tell(record, writer.begin())
    store.put(record)
    record.task = asyncio.create_task(_make(generation, writer, record))
    record.task.add_done_callback(lambda task: _settle(task, generation, writer, store, record))


async def _make(generation: Generation, writer: ResponseWriter, record: Record) -> None:
    try:
        while not writer.ended:
            _tell(record, writer.add(await generation.read()))
    except LLMasOSError as error:
        _tell(record, writer.fail(error))


def _settle(
    task: asyncio.Task[None], generation: Generation, writer: ResponseWriter, store: ResponseStore, record: Record
) -> None:
    """Whatever became of the task, which may have been cancelled before it began."""
    generation.close()
    if not writer.ended:
        if task.cancelled():
            _tell(record, writer.cancel())
        else:
            logger.error("response %s failed because of a defect", writer.id, exc_info=task.exception())
            error = LLMasOSError(
                t("the server failed on this request; its log has the reason under {id}", id=writer.id)
            )
            _tell(record, writer.fail(error))
    if store.has(record):
        keep(store, record)


def _tell(record: Record, events: list[dict[str, Any]]) -> None:
    if record.events is not None:
        record.events += [event(item, item["type"]) for item in events]
    record.announce()
