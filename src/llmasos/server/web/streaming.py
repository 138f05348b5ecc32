"""Answers that come in pieces, and clients that go away in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

EVENT_STREAM = "text/event-stream; charset=utf-8"
NDJSON = "application/x-ndjson"
_Result = TypeVar("_Result")


class ClientGone(Exception):  # noqa: N818 - an event, not a fault
    """The client closed the connection before it had its answer."""


def to_json(value: Any) -> str:
    """Compact JSON as all answers have it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def event(value: Any, name: str | None = None) -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {to_json(value)}\n\n".encode()


class StreamingAnswer(Response):
    """Sends what ``pieces`` gives as it comes; when the client goes away, ``pieces`` is cancelled within that step.

    ``close`` is called at the end in any case.
    """

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        close: Callable[[], None],
        *,
        media_type: str = EVENT_STREAM,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        # Proxies must not gather the pieces.
        super().__init__(None, 200, {"cache-control": "no-cache", "x-accel-buffering": "no", **(headers or {})})
        del self.headers["content-length"]
        self.headers["content-type"] = media_type
        self._pieces = pieces
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writer = asyncio.ensure_future(self._write(send))
        gone = asyncio.ensure_future(_disconnect(receive))
        try:
            await asyncio.wait((writer, gone), return_when=asyncio.FIRST_COMPLETED)
            if writer.done():
                writer.result()
        finally:
            self._close()
            for task in (writer, gone):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnect(receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return


async def while_connected(request: Request, work: Awaitable[_Result]) -> _Result:
    """The result of ``work``, which is cancelled when the client goes away. The body must have been read.

    Raises:
        ClientGone: nobody waits for the answer any more.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(request.receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            raise ClientGone
        return task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
