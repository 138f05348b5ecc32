"""Responses that are kept: in memory, within bounds, each for the key that asked for it."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmasos.errors import NotFound
from llmasos.i18n import t
from llmasos.server.serving.job import Message
from llmasos.server.web.streaming import to_json

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Record:
    """A response with what is needed to go on from it."""

    owner: str
    response: dict[str, Any]
    input_items: list[dict[str, Any]]
    conversation: Sequence[Message] = ()
    """All messages up to its output, without instructions; complete once the response is."""
    earlier_size: int = 0
    """Size of the conversation before its input."""
    task: asyncio.Task[None] | None = None
    """What makes it in the background."""
    events: list[bytes] | None = None
    """All so far, where it is streamed from the background."""
    size: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def running(self) -> bool:
        """Whether it is still being made."""
        return self.response["status"] in ("queued", "in_progress")

    def measured(self) -> int:
        """Bytes that it takes, as JSON: an upper bound, since responses in a row share their messages."""
        own = len(to_json(self.response)) + len(to_json(self.input_items))
        return self.earlier_size + own + sum(map(len, self.events or ()))

    def announce(self) -> None:
        """Wake whoever follows."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def follow(self, start: int) -> AsyncIterator[bytes]:
        """The events from number ``start`` on, up to the last, as they come."""
        assert self.events is not None
        while True:
            news = self._news
            while start < len(self.events):
                yield self.events[start]
                start += 1
            if not self.running:
                return
            await news.wait()


class ResponseStore:
    """Keeps the newest responses. It belongs to one asyncio loop; a restart of the server empties it.

    Args:
        kept: most responses; 0 keeps none.
        most_bytes: most memory, roughly.
    """

    def __init__(self, kept: int, most_bytes: int) -> None:
        self.kept = kept
        self._most_bytes = most_bytes
        self._bytes = 0
        self._records: OrderedDict[str, Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def put(self, record: Record) -> None:
        """Keep a response, or measure one anew that has grown; the oldest finished ones make room."""
        id = record.response["id"]
        self._bytes -= record.size if id in self._records else 0
        record.size = record.measured()
        self._bytes += record.size
        self._records[id] = record
        for old in list(self._records.values()):
            if len(self._records) <= self.kept and self._bytes <= self._most_bytes:
                break
            if not old.running and old is not record:
                self._remove(old)
        if self._bytes > self._most_bytes and not record.running:
            logger.warning("response %s is larger than responses_bytes and is not kept", id)
            self._remove(record)

    def has(self, record: Record) -> bool:
        """Whether it is still kept."""
        return self._records.get(record.response["id"]) is record

    def find(self, owner: str, id: str) -> Record | None:
        """The response of that id, if this owner asked for it."""
        record = self._records.get(id)
        return record if record is not None and record.owner == owner else None

    def get(self, owner: str, id: str) -> Record:
        """The response of that id that this owner asked for.

        Raises:
            NotFound: there is none; whether another owner has one is not told.
        """
        record = self.find(owner, id)
        if record is None:
            raise NotFound(
                t("there is no response {id!r} here", id=id),
                hint=t("The server keeps the last {kept} in memory until it stops.", kept=self.kept),
            )
        return record

    async def cancel(self, record: Record) -> None:
        """Stop making a response, and wait until that is done."""
        if record.task is not None and not record.task.done():
            record.task.cancel()
            await asyncio.wait((record.task,))

    async def delete(self, record: Record) -> None:
        """Forget a response; one that is being made is stopped first."""
        await self.cancel(record)
        if self.has(record):
            self._remove(record)

    async def close(self) -> None:
        """Stop all that run in the background, and forget everything."""
        for record in list(self._records.values()):
            await self.delete(record)

    def _remove(self, record: Record) -> None:
        del self._records[record.response["id"]]
        self._bytes -= record.size
