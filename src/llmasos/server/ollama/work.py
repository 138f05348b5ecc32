"""Long work on the library (pull, push, create): on a thread of its own, told in lines, shared by who wants the same,
and stopped when nobody waits for it any more."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from fastapi.responses import JSONResponse, Response

from llmasos import progress
from llmasos.errors import LLMasOSError
from llmasos.server.ollama.answers import error_line, line
from llmasos.server.web.context import Context
from llmasos.server.web.streaming import NDJSON, StreamingAnswer

logger = logging.getLogger(__name__)

Line = dict[str, Any]
SUCCESS: Line = {"status": "success"}


class StoppedError(Exception):
    """Nobody waits for the work any more."""


class Work:
    """Work in progress.

    Args:
        run: does it, on a thread of its own, and reports to :func:`llmasos.progress.current`.
        first: what is told at once.
    """

    def __init__(self, run: Callable[[], None], first: str) -> None:
        self._run = run
        self._listeners: set[asyncio.Queue[Line | None]] = set()
        self._now: dict[str, Line] = {"": {"status": first}}
        """The last line of each task, for who comes later."""
        self._stopped = False
        self._loop = asyncio.get_running_loop()
        self.error: LLMasOSError | None = None
        self.task = asyncio.create_task(self._do())

    async def _do(self) -> None:
        try:
            await asyncio.to_thread(contextvars.copy_context().run, self._reported)
        except LLMasOSError as error:
            self.error = error
        except StoppedError:
            logger.info("stopped: nobody waits for it")
        finally:
            for queue in self._listeners:
                queue.put_nowait(None)

    def _reported(self) -> None:
        with progress.reporting(self._hear):
            self._run()

    def _hear(self, event: progress.Event) -> None:
        """Called by the threads that work; the way in which they learn that they shall stop."""
        if self._stopped:
            raise StoppedError
        told = line_of(event)
        if told is not None:
            self._loop.call_soon_threadsafe(self._tell, told)

    def _tell(self, told: Line) -> None:
        self._now[told.get("digest") or told["status"]] = told
        for queue in self._listeners:
            queue.put_nowait(told)

    def join(self) -> asyncio.Queue[Line | None]:
        """Listen: what is known so far, then every line, then ``None``."""
        queue: asyncio.Queue[Line | None] = asyncio.Queue()
        for told in self._now.values():
            queue.put_nowait(told)
        if self.task.done():
            queue.put_nowait(None)
        self._listeners.add(queue)
        return queue

    def leave(self, queue: asyncio.Queue[Line | None]) -> None:
        """Listen no more; the last one to leave stops the work."""
        self._listeners.discard(queue)
        self._stopped = self._stopped or not self._listeners

    @property
    def open(self) -> bool:
        """Whether one can still join."""
        return not self._stopped and not self.task.done()


def line_of(event: progress.Event) -> Line | None:
    """An event as this API tells it; ``None`` for what it has no words for.

    ``digest`` is what clients tell bars apart by. It is made from the task, whose bytes are not known yet.
    """
    if event.kind in ("metric", "failed"):
        return None
    told: Line = {"status": event.label}
    if event.kind != "log" and event.total:
        told["digest"] = "sha256:" + hashlib.sha256(f"{event.task} {event.label}".encode()).hexdigest()
        told["total"] = int(event.total)
        if event.completed:
            told["completed"] = int(event.completed)
    return told


class Workshop:
    """All work in progress of a server."""

    def __init__(self) -> None:
        self._works: dict[str, Work] = {}

    def begin(self, key: str, run: Callable[[], None], first: str) -> Work:
        """The work of this key: that in progress, or a new one."""
        found = self._works.get(key)
        if found is None or not found.open:
            found = self._works[key] = Work(run, first)
            found.task.add_done_callback(partial(self._forget, key, found))
        return found

    def _forget(self, key: str, work: Work, _: asyncio.Task[None]) -> None:
        if self._works.get(key) is work:
            del self._works[key]


async def told(
    context: Context, work: Work, *, stream: bool, headers: dict[str, str], after: Callable[[], None]
) -> Response:
    """The answer to a request for work: its lines as they come, or the end alone.

    Args:
        after: called when it is done, before that is told.

    Raises:
        LLMasOSError: it failed before there was anything to tell, or nothing is streamed.
    """
    queue = work.join()
    if not stream:
        try:
            await context.while_connected(asyncio.shield(work.task))
        finally:
            work.leave(queue)
        if work.error is not None:
            raise work.error
        after()
        return JSONResponse(SUCCESS, headers=headers)
    try:
        begun = [await context.while_connected(queue.get())]  # the first word, which is there at once
        begun.append(await context.while_connected(queue.get()))
    except BaseException:
        work.leave(queue)
        raise
    if begun[-1] is None:
        try:
            await work.task  # raises what is no error of a user's
            if work.error is not None:
                raise work.error
        except BaseException:
            work.leave(queue)
            raise
    return StreamingAnswer(
        _lines(context, work, queue, begun, after), lambda: work.leave(queue), media_type=NDJSON, headers=headers
    )


async def _lines(
    context: Context, work: Work, queue: asyncio.Queue[Line | None], begun: list[Line | None],
    after: Callable[[], None],
) -> AsyncIterator[bytes]:  # fmt: skip
    for told in begun:
        if told is not None:
            yield line(told)
    while begun[-1] is not None and (told := await queue.get()) is not None:
        yield line(told)
    await work.task  # raises what is no error of a user's
    if work.error is not None:
        context.failed(work.error)
        yield error_line(work.error)
        return
    after()
    yield line(SUCCESS)
