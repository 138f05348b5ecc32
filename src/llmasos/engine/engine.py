"""The engine as its callers see it: submit from any thread or event loop, read a stream, cancel, close."""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import count
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from llmasos.engine.core import EngineCore
from llmasos.engine.detokenizer import text_decoder
from llmasos.engine.grammar import GrammarCompiler
from llmasos.engine.grammar_vocabulary import GrammarVocabulary
from llmasos.engine.intake import Limits, check_capabilities, fit_prompt
from llmasos.engine.options import EngineOptions, cache_blocks
from llmasos.engine.output import ActiveRequest, Emit
from llmasos.engine.request import Delta, Request
from llmasos.engine.speculation.prompt_lookup import PromptLookupProposer
from llmasos.engine.speculation.speculator import Proposer
from llmasos.engine.stream import AsyncStream, Result, Stream, bridge_of, drain
from llmasos.errors import InUse, InvalidRequest, LLMasOSError, Unavailable
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.engine.kernels.decoder import AdapterLayers
    from llmasos.engine.runner import ModelRunner
    from llmasos.engine.text_decoder import TextDecoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineStats:
    """The engine at one moment; counters count from its start."""

    running: int
    """Outputs that are computed."""
    waiting: int
    """Outputs that wait for room."""
    requests: int
    """Requests taken."""
    blocks: int
    free_blocks: int
    cached_blocks: int
    """Blocks that hold prefixes, in use or not."""
    block_size: int
    passes: int
    rows: int
    """Tokens computed, prompts and drafts included."""
    prompt_tokens: int
    """Tokens of prompts of ended requests."""
    cached_tokens: int
    """Those of them that were found in the cache."""
    output_tokens: int
    preemptions: int
    evictions: int
    """Blocks of past prefixes that made room."""
    copies: int
    """Blocks copied on write."""
    speculative_proposed: int
    speculative_accepted: int


class Engine:
    """Serves requests on one runner with one inference thread. All methods may be called from any thread."""

    def __init__(
        self,
        runner: ModelRunner,
        tokenizer: Any = None,
        *,
        eos_token_ids: Collection[int] = (),
        options: EngineOptions | None = None,
        adapters: Callable[[], Collection[str]] | None = None,
        proposer: Proposer | None = None,
    ) -> None:
        """Allocate the cache and start the thread.

        Args:
            runner: the model; the engine closes it.
            tokenizer: for text; without one, deltas carry token ids alone and stop texts are refused.
            eos_token_ids: tokens that end an output.
            options: limits; default: see :class:`EngineOptions`.
            adapters: gives the names of the adapters that requests may use.
            proposer: guesses tokens ahead in place of prompt lookup, for instance with a draft model.

        Raises:
            InvalidRequest: an option is not allowed.
            OutOfMemory: the cache does not fit, or not even one block does.
        """
        options = options or EngineOptions()
        options.check()
        if proposer is None and options.prompt_lookup:
            proposer = PromptLookupProposer()
        blocks = cache_blocks(runner, options)
        self._runner: Any = runner  # beside the protocol, adapters and interventions are some runners' own
        self._core = EngineCore(
            runner, blocks, max_batch_tokens=options.max_batch_tokens, max_sequences=options.max_sequences,
            aging=options.aging_seconds, proposer=proposer,
        )  # fmt: skip
        self.limits = Limits(
            vocabulary_size=runner.vocabulary_size,
            context_length=runner.context_length,
            cache_tokens=blocks * runner.block_size,
            bytes_per_token=-(-runner.bytes_per_block // runner.block_size),
            capabilities=runner.capabilities,
            adapters=adapters,
        )
        self._decoder = None if tokenizer is None else text_decoder(tokenizer)
        self._eos_ids = frozenset(eos_token_ids)
        self._grammars: GrammarCompiler | None = None
        if tokenizer is not None:
            vocabulary = GrammarVocabulary(
                tokenizer, vocabulary_size=runner.vocabulary_size, eos_ids=sorted(self._eos_ids)
            )
            self._grammars = GrammarCompiler(vocabulary)
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

    # --- for callers ------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> Stream:
        """Queue a request.

        Returns:
            Its deltas as they come; dropping it unread cancels the request.

        Raises:
            InvalidRequest: values are not allowed, with all problems.
            ContextLengthExceeded: the prompt does not fit the model.
            OutOfMemory: the prompt does not fit the cache.
            Unsupported: the runner cannot do what is asked.
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
        which is where the checks and the compilation of a grammar do not hold the loop up.

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

    def add_adapter(self, name: str, layers: AdapterLayers) -> None:
        """Make a LoRA adapter usable, between two passes; see :class:`~llmasos.engine.adapters.AdapterPool`.

        Raises:
            Unavailable: the engine is closed.
        """
        self._call(lambda: self._runner.add_adapter(name, layers))

    def remove_adapter(self, name: str) -> None:
        """Forget an adapter and its cached prefixes.

        Raises:
            InUse: requests still use it.
            Unavailable: the engine is closed.
        """

        def remove() -> None:
            self._forget(name)
            self._runner.remove_adapter(name)

        self._call(remove)

    def forget(self, adapter: str | None = None) -> None:
        """Drop the cached prefixes of an adapter (``None``: of the base model), whose weights change or go.

        Raises:
            InUse: requests still use it.
            Unavailable: the engine is closed.
        """
        self._call(lambda: self._forget(adapter))

    @property
    def text_decoder(self) -> TextDecoder | None:
        """What is known of the tokenizer; ``None`` without one."""
        return self._decoder

    @property
    def weight_bytes(self) -> int | None:
        """Bytes of weights that one pass reads; ``None`` if the runner does not say."""
        found: int | None = getattr(self._runner, "weight_bytes", None)
        return found

    def clear_cache(self) -> None:
        """Drop all cached prefixes that no request uses now."""
        self._call(self._core.cache.clear)

    def stats(self) -> EngineStats:
        """Counters and gauges, read without stopping the engine."""
        core = self._core
        cache, scheduler = core.cache, core.scheduler
        return EngineStats(
            running=scheduler.running,
            waiting=scheduler.waiting,
            requests=self._requests,
            blocks=cache.pool.total,
            free_blocks=cache.pool.free,
            cached_blocks=cache.tree.nodes,
            block_size=cache.block_size,
            passes=core.passes,
            rows=core.rows,
            prompt_tokens=core.prompt_tokens,
            cached_tokens=core.cached_tokens,
            output_tokens=core.output_tokens,
            preemptions=scheduler.preemptions,
            evictions=cache.evictions,
            copies=cache.copies,
            speculative_proposed=core.speculator.proposed if core.speculator else 0,
            speculative_accepted=core.speculator.accepted if core.speculator else 0,
        )

    def close(self) -> None:
        """Cancel what is live, close the runner and end the thread. Safe to call twice."""
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

    def _prepare(self, request: Request, emit: Emit) -> ActiveRequest:
        """Everything that can be refused or computed on the caller's thread."""
        request.check(self.limits.vocabulary_size)
        check_capabilities(request, self.limits)
        # Here, because an error of a pass would end the requests beside it too.
        if request.steering is not None and hasattr(self._runner, "check_intervention"):
            self._runner.check_intervention(request.steering)
        if self._decoder is None and (request.sampling.stop or request.sampling.echo or request.grammar):
            raise InvalidRequest(
                t("stop, echo and grammar need text, and this engine has no tokenizer"),
                hint=t("Use stop_token_ids, or give the engine a tokenizer."),
            )
        prompt, cut = fit_prompt(request, self.limits)
        request_id = request.request_id or f"request-{next(self._numbers)}"
        longest = self.limits.sequence_tokens
        wanted = request.sampling.max_tokens
        grammars = None
        if request.grammar is not None and self._grammars is not None:
            grammars = [self._grammars.start(request.grammar) for _ in range(request.sampling.choices)]
        return ActiveRequest(
            request, request_id, prompt, limit=longest if wanted is None else min(len(prompt) + wanted, longest),
            truncated=cut, decoder=self._decoder, eos_ids=self._eos_ids, grammars=grammars, emit=emit,
        )  # fmt: skip

    def _canceller(self, active: ActiveRequest) -> Callable[[], None]:
        return lambda: self._inbox.put(lambda: self._core.end(active, "cancelled"))

    def _enqueue(self, active: ActiveRequest) -> None:
        self._command(lambda: self._core.add(active))
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

    def _forget(self, adapter: str | None) -> None:
        users = [active.request_id for active in self._core.live if active.request.adapter == adapter]
        if users:
            raise InUse(
                t("{count} request(s) use {adapter} now", count=len(users), adapter=adapter or t("the base model")),
                hint=t("Wait for their end or cancel them."),
            )
        self._core.cache.drop_adapter(adapter)

    def _run(self) -> None:
        """The inference thread."""
        core, inbox = self._core, self._inbox
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
                self._core.end_all("cancelled" if broken is None else "error", broken)
            finally:
                self._core.close()


def _close_if_alive(engine: weakref.ref[Engine]) -> None:
    alive = engine()
    if alive is not None:
        alive.close()


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
