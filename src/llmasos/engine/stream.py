"""How deltas get from the inference thread to whoever asked: a blocking iterator, or an asyncio one."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

from llmasos.engine.request import Delta, FinishReason, TokenLogprob, Usage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(slots=True)
class Completion:
    """One whole output."""

    index: int
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] | None = None
    finish_reason: FinishReason | None = None
    stop: str | int | None = None
    error: str | None = None


@dataclass(slots=True)
class Result:
    """All that a request gave."""

    request_id: str
    outputs: list[Completion]
    usage: Usage
    prompt_logprobs: list[TokenLogprob | None] | None = None
    values: NDArray[np.float32] | None = None
    """See :attr:`~llmasos.engine.request.Delta.values`."""

    @property
    def text(self) -> str:
        """Text of the first output."""
        return self.outputs[0].text

    @property
    def token_ids(self) -> list[int]:
        """Tokens of the first output."""
        return self.outputs[0].token_ids

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the first output ended."""
        return self.outputs[0].finish_reason


class Stream:
    """The deltas of one request, as an iterator that blocks. The last delta is the one with ``usage``.

    A stream that is dropped before its end cancels the request: nobody can read the rest.
    """

    def __init__(self, request_id: str, cancel: Callable[[], None]) -> None:
        self.request_id = request_id
        self.queue: SimpleQueue[Delta] = SimpleQueue()
        self._cancel = cancel
        self._collector = Collector()

    def __iter__(self) -> Iterator[Delta]:
        return self

    def __next__(self) -> Delta:
        if self._collector.ended:
            raise StopIteration
        delta = self.queue.get()
        self._collector.add(delta)
        return delta

    def cancel(self) -> None:
        """End the request within one pass; what it has until then stays readable."""
        self._cancel()

    def result(self) -> Result:
        """Wait for the end and put all deltas together, also those that were iterated over before."""
        for _ in self:
            pass
        return self._collector.result()

    def __del__(self) -> None:
        if not self._collector.ended:
            self._cancel()


class Collector:
    """Puts the deltas of a request together as they come."""

    def __init__(self) -> None:
        self.ended = False
        self._outputs: dict[int, Completion] = {}
        self._texts: dict[int, list[str]] = {}
        self._prompt_logprobs: list[TokenLogprob | None] | None = None
        self._values: NDArray[np.float32] | None = None
        self._last: Delta | None = None

    def add(self, delta: Delta) -> None:
        """Take the next delta."""
        output = self._outputs.get(delta.index)
        if output is None:
            output = self._outputs[delta.index] = Completion(delta.index)
            self._texts[delta.index] = []
        self._texts[delta.index].append(delta.text)
        output.token_ids += delta.token_ids
        if delta.logprobs is not None:
            output.logprobs = [] if output.logprobs is None else output.logprobs
            output.logprobs += delta.logprobs
        if delta.finish_reason is not None:
            output.finish_reason, output.stop, output.error = delta.finish_reason, delta.stop, delta.error
        if delta.prompt_logprobs is not None:
            self._prompt_logprobs = delta.prompt_logprobs
        if delta.values is not None:
            self._values = delta.values
        self._last = delta
        self.ended = delta.usage is not None

    def result(self) -> Result:
        """The whole, after the last delta.

        Raises:
            ValueError: the last delta has not come.
        """
        if self._last is None or self._last.usage is None:
            raise ValueError("the request has not ended")
        outputs = [self._outputs[index] for index in sorted(self._outputs)]
        for output in outputs:
            output.text = "".join(self._texts[output.index])
        return Result(self._last.request_id, outputs, self._last.usage, self._prompt_logprobs, self._values)


class DeltaSink(Protocol):
    """Where the deltas of a request end up in a loop: an :class:`asyncio.Queue`, or an :class:`AsyncStream`."""

    def put_nowait(self, delta: Delta, /) -> None: ...


class AsyncStream:
    """The deltas of one request for one task of an asyncio loop, all that are ready at a time.

    Unlike a queue it wakes its reader once for everything that has come, as a server with many streams needs.
    """

    def __init__(self, request_id: str, cancel: Callable[[], None]) -> None:
        self.request_id = request_id
        self.ended = False
        """Whether the last delta has been read."""
        self._cancel = cancel
        self._ready: list[Delta] = []
        self._waiter: asyncio.Future[None] | None = None

    def put_nowait(self, delta: Delta, /) -> None:
        """Called in the loop by the bridge."""
        self._ready.append(delta)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read(self) -> list[Delta]:
        """The next deltas, at least one. The last of all is the one with ``usage``.

        Raises:
            ValueError: the stream has ended.
        """
        if self.ended:
            raise ValueError("the stream has ended")
        if not self._ready:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        ready, self._ready = self._ready, []
        self.ended = ready[-1].usage is not None
        return ready

    def cancel(self) -> None:
        """End the request within one pass. May be called more than once, and after the end."""
        self._cancel()


class LoopBridge:
    """Hands deltas to the queues of one asyncio loop, waking the loop once for many of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)  # else the bridge would keep its own key alive
        self._pending: deque[tuple[DeltaSink, Delta]] = deque()
        self._woken = False

    def put(self, queue: DeltaSink, delta: Delta) -> bool:
        """Called by the inference thread; ``False`` when the loop is closed and nobody will read."""
        loop = self._loop()
        # Asked every time: a loop that closes after it was woken never delivers what waits, nor raises again.
        if loop is None or loop.is_closed():
            self._pending.clear()
            return False
        self._pending.append((queue, delta))
        if not self._woken:
            self._woken = True
            try:
                loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # closed since the question
                self._pending.clear()
                return False
        return True

    def _deliver(self) -> None:
        self._woken = False  # first: a delta put from now on wakes the loop again
        while self._pending:
            queue, delta = self._pending.popleft()
            queue.put_nowait(delta)


_bridges: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopBridge] = weakref.WeakKeyDictionary()
_bridges_lock = threading.Lock()


def bridge_of(loop: asyncio.AbstractEventLoop) -> LoopBridge:
    """The bridge to ``loop``, shared by all streams of it."""
    with _bridges_lock:
        bridge = _bridges.get(loop)
        if bridge is None:
            bridge = _bridges[loop] = LoopBridge(loop)
        return bridge


async def drain(queue: asyncio.Queue[Delta], cancel: Callable[[], None]) -> AsyncIterator[Delta]:
    """The deltas of one request; leaving the iteration early cancels it."""
    ended = False
    try:
        while not ended:
            delta = await queue.get()
            ended = delta.usage is not None
            yield delta
    finally:
        if not ended:
            cancel()
