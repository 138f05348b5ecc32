"""What callers of every engine see: submit from any thread or event loop, read a stream, cancel, close.

One inference thread owns the model. What others want of it goes through an inbox that is read between two passes.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from llmasos.engine.request import Delta, FinishReason, Request
from llmasos.engine.stream import AsyncStream, Collector, Result, Stream, bridge_of, drain
from llmasos.errors import LLMasOSError, Unavailable
from llmasos.i18n import t

logger = logging.getLogger(__name__)

Emit = Callable[[Delta], None]
"""Takes the deltas of a request, on the thread that computes."""


class Active(Protocol):
    """A request between its submission and its last delta."""

    request_id: str


ActiveT = TypeVar("ActiveT", bound=Active)
_ActiveIn = TypeVar("_ActiveIn", bound=Active, contravariant=True)


class Core(Protocol[_ActiveIn]):
    """An engine on one thread. All methods belong to the inference thread."""

    @property
    def idle(self) -> bool:
        """Whether there is nothing to compute."""

    def add(self, active: _ActiveIn) -> None:
        """Queue a request."""

    def end(self, active: _ActiveIn, reason: FinishReason, error: str | None = None) -> None:
        """End what is left of a request; nothing happens if it has ended."""

    def end_all(self, reason: FinishReason, error: str | None = None) -> None:
        """End every request."""

    def step(self) -> None:
        """One pass."""

    def close(self) -> None:
        """Free the model."""


@dataclass(frozen=True, slots=True)
class ServiceStats:
    """An engine at one moment; counters count from its start."""

    running: int
    """Outputs that are computed."""
    waiting: int
    """Outputs that wait for room."""
    requests: int
    """Requests taken."""
    passes: int
    rows: int
    """Tokens computed."""
    prompt_tokens: int
    """Tokens of prompts."""
    output_tokens: int
    """Tokens written; 0 for encoders."""


class Service(ABC, Generic[ActiveT]):
    """Serves requests with one inference thread. All methods may be called from any thread."""

    def __init__(self, core: Core[ActiveT]) -> None:
        """Start the thread; call it when everything that :meth:`_prepare` needs is there."""
        self._service = core
        self._numbers = count(1)
        self._requests = 0
        # SimpleQueue.put may be called by a destructor at any moment (a dropped stream cancels its request).
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._closing = False
        self._submitting = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="llmasos-engine", daemon=True)
        self._thread.start()
        # A thread that is still in native code when the interpreter ends brings the process down with it.
        self._at_exit = partial(_close_if_alive, weakref.ref(self))
        atexit.register(self._at_exit)

    @abstractmethod
    def stats(self) -> ServiceStats:
        """Counters and gauges, read without stopping the engine."""

    @abstractmethod
    def _prepare(self, request: Request, emit: Emit) -> ActiveT:
        """Everything that can be refused or computed on the caller's thread."""

    def submit(self, request: Request) -> Stream:
        """Queue a request.

        Returns:
            Its deltas as they come; dropping it unread cancels the request.

        Raises:
            InvalidRequest: values are not allowed, with all problems.
            ContextLengthExceeded: the prompt does not fit the model.
            OutOfMemory: the prompt does not fit the cache.
            Unsupported: the model cannot do what is asked.
            NotFound: the adapter is not loaded.
            Unavailable: the engine is closed.
        """
        stream: Stream
        active = self._prepare(request, lambda delta: put(delta))
        stream = Stream(active.request_id, self._canceller(active))
        put = stream.queue.put
        self._enqueue(active)
        return stream

    def generate(self, requests: Iterable[Request]) -> list[Result]:
        """Serve requests together and wait for all, in their order. Raises what :meth:`submit` raises."""
        return [stream.result() for stream in [self.submit(request) for request in requests]]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Requests that are submitted inside the block start at the same moment, after it: which of them share a pass
        then depends on them alone and not on how fast they were submitted. Everything else waits meanwhile.

        Raises:
            Unavailable: the engine is closed.
        """
        complete = threading.Event()
        self._command(partial(_wait, complete))
        try:
            yield
        finally:
            complete.set()

    def stream_together(self, requests: Iterable[Request]) -> Iterator[tuple[int, Delta]]:
        """Deltas of several requests as they come, each with its request's place; leaving the iteration cancels all.

        Raises what :meth:`submit` raises, before anything is queued.
        """
        news: SimpleQueue[tuple[int, Delta]] = SimpleQueue()
        group = [self._prepare(request, partial(_put_numbered, news, index)) for index, request in enumerate(requests)]
        for active in group:
            self._enqueue(active)
        return _read_together(news, [self._canceller(active) for active in group])

    async def astream(self, request: Request) -> AsyncIterator[Delta]:
        """Deltas of a request in the running asyncio loop; leaving the iteration cancels the request.

        Raises:
            LLMasOSError: what :meth:`submit` raises.
        """
        bridge = bridge_of(asyncio.get_running_loop())
        queue: asyncio.Queue[Delta] = asyncio.Queue()

        def emit(delta: Delta) -> None:
            if not bridge.put(queue, delta):
                cancel()

        active = self._prepare(request, emit)
        cancel = self._canceller(active)
        self._enqueue(active)
        async for delta in drain(queue, cancel):
            yield delta

    def open_stream(self, request: Request, loop: asyncio.AbstractEventLoop) -> AsyncStream:
        """Queue a request whose deltas are read in an asyncio loop. May be called from another thread than the loop's,
        where checks and the compilation of a grammar do not hold the loop up.

        Raises:
            LLMasOSError: what :meth:`submit` raises.
        """
        bridge = bridge_of(loop)

        def emit(delta: Delta) -> None:
            if not bridge.put(stream, delta):
                stream.cancel()

        active = self._prepare(request, emit)
        stream = AsyncStream(active.request_id, self._canceller(active))
        self._enqueue(active)
        return stream

    async def aresult(self, request: Request) -> Result:
        """The whole answer to a request, awaited in the running asyncio loop; cancelling the task cancels the request.

        Raises:
            LLMasOSError: what :meth:`submit` raises.
        """
        collector = Collector()
        deltas = self.astream(request)
        try:
            async for delta in deltas:
                collector.add(delta)
        finally:
            await deltas.aclose()  # type: ignore[attr-defined]
        return collector.result()

    def close(self) -> None:
        """Cancel what is live, free the model and end the thread. Safe to call twice."""
        with self._submitting:
            closing, self._closing = self._closing, True
        if not closing:
            self._inbox.put(lambda: None)  # wakes the thread
        atexit.unregister(self._at_exit)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # --- inside -----------------------------------------------------------------------------------------------

    def _name(self, request: Request) -> str:
        return request.request_id or f"request-{next(self._numbers)}"

    def _canceller(self, active: ActiveT) -> Callable[[], None]:
        return lambda: self._inbox.put(lambda: self._service.end(active, "cancelled"))

    def _enqueue(self, active: ActiveT) -> None:
        self._command(lambda: self._service.add(active))
        self._requests += 1

    def _command(self, action: Callable[[], None]) -> None:
        with self._submitting:
            if self._closing:
                raise Unavailable(t("the engine is closed"), hint=t("Load the model again."))
            self._inbox.put(action)

    def _call(self, action: Callable[[], None]) -> None:
        """Run ``action`` between two passes and wait for it."""
        done: Future[None] = Future()

        def run() -> None:
            try:
                action()
            except LLMasOSError as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        self._command(run)
        done.result()

    def _run(self) -> None:
        """The inference thread."""
        core, inbox = self._service, self._inbox
        broken: str | None = t("the engine stopped because of a fault of its own; see the log")
        try:
            while not self._closing:
                if core.idle:
                    inbox.get()()
                while not inbox.empty():
                    inbox.get()()
                core.step()
            broken = None
        except BaseException:
            logger.critical("the inference thread failed", exc_info=True)
            raise
        finally:
            with self._submitting:
                self._closing = True
            self._shut_down(broken)

    def _shut_down(self, broken: str | None) -> None:
        """Nobody may be left waiting, whatever ended the thread."""
        try:
            while not self._inbox.empty():
                self._inbox.get()()
        finally:
            try:
                self._service.end_all("cancelled" if broken is None else "error", broken)
            finally:
                self._service.close()


def _close_if_alive(service: weakref.ref[Service[ActiveT]]) -> None:
    alive = service()
    if alive is not None:
        alive.close()


def _wait(complete: threading.Event) -> None:
    complete.wait()


def _put_numbered(queue: SimpleQueue[tuple[int, Delta]], index: int, delta: Delta) -> None:
    queue.put((index, delta))


def _read_together(
    queue: SimpleQueue[tuple[int, Delta]], cancel: list[Callable[[], None]]
) -> Iterator[tuple[int, Delta]]:
    going = len(cancel)
    try:
        while going:
            index, delta = queue.get()
            going -= delta.usage is not None
            yield index, delta
    finally:
        if going:
            for each in cancel:
                each()
