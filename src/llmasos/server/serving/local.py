"""A model that this process computes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from llmasos.engine.backend import sampling_of, task_of
from llmasos.engine.intake import Limits, fit_prompt
from llmasos.engine.request import Delta, Request, SamplingParameters, TokenLogprob
from llmasos.errors import DeadlineExceeded, LLMasOSError, TooManyRequests, Unavailable, Unsupported
from llmasos.i18n import t
from llmasos.server.serving.job import Job, Piece, TokenInfo
from llmasos.server.serving.prompts import PreparedPrompt, prepare_prompt
from llmasos.server.serving.reading import OutputReader, ReasoningReader

if TYPE_CHECKING:
    from llmasos.engine.engine import Engine
    from llmasos.engine.service import Service
    from llmasos.engine.stream import AsyncStream
    from llmasos.engine.task import Generate
    from llmasos.modeling.model import Model
    from llmasos.modeling.results import Classification, Embedding

_Result = TypeVar("_Result")
_WAITING_CALLERS = 32
# Of SamplingParameters, and unknown to the options of a verb.
_ENGINE_ONLY = ("n", "best_of", "typical_p", "prompt_logprobs", "echo")


class LocalModel:
    """A loaded model with a limit to what may wait for it."""

    def __init__(self, model: Model, *, max_sequences: int, max_queue: int) -> None:
        self.model = model
        self.outputs = 0
        """Outputs that are computed or wait."""
        self._max_sequences = max_sequences
        self._room = max_sequences + max_queue
        # Callers wait on these threads while the engine computes all their texts in common batches.
        self._pool = ThreadPoolExecutor(_WAITING_CALLERS, thread_name_prefix="llmasos-model")
        self._recent_seconds = 1.0  # smoothed duration of a request, for Retry-After

    @property
    def engine(self) -> Service[Any] | None:
        """The engine, where one runs the model."""
        found: Service[Any] | None = self.model.engine
        return found

    @property
    def decoder_engine(self) -> Engine | None:
        """The engine, if the model is decoder-only: the one with a key-value cache."""
        from llmasos.engine.engine import Engine

        engine = self.engine
        return engine if isinstance(engine, Engine) else None

    async def generate(self, job: Job, adapter: str | None, deadline_seconds: float | None) -> LocalGeneration:
        """Accept a job.

        Raises:
            LLMasOSError: it is not allowed, does not fit, or the queue is full.
        """
        self.model.defaults  # noqa: B018 - says what kind of model this is, if it cannot generate
        engine = self.engine
        if engine is None:
            raise Unsupported(
                t("{model} runs without the engine, which the server needs", model=self.model.reference),
                hint=t("Use `llmasos generate` for this model."),
            )
        wanted = job.options.get("best_of") or job.options.get("n") or 1
        count = wanted if isinstance(wanted, int) and wanted > 0 else 1
        self.reserve(count)
        loop = asyncio.get_running_loop()
        opening = asyncio.ensure_future(
            asyncio.to_thread(self._open, job, engine, adapter, deadline_seconds, loop, count)
        )
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:  # the client went; the thread goes on, and what it opens must be closed
            opening.add_done_callback(lambda done: self._abandon(done, count))
            raise
        except LLMasOSError:
            self.release(count)
            raise

    def _abandon(self, opening: asyncio.Future[LocalGeneration], count: int) -> None:
        if opening.cancelled() or opening.exception() is not None:
            self.release(count)
        else:
            opening.result().close()

    def reserve(self, count: int) -> None:
        """Take room for outputs.

        Raises:
            TooManyRequests: there is none.
        """
        if self.outputs and self.outputs + count > self._room:
            wait = max(1.0, self._recent_seconds * (self.outputs - self._max_sequences + 1) / self._max_sequences)
            raise TooManyRequests(
                t("{model} has {count} outputs in work and in its queue, and takes {limit}", model=self.model.reference,
                  count=self.outputs, limit=self._room),
                retry_after=wait,
                hint=t("Try again in {seconds} s, or start the server with a larger max_queue.", seconds=round(wait)),
            )  # fmt: skip
        self.outputs += count

    def release(self, count: int, seconds: float | None = None) -> None:
        """Give room back, with the time that the request took."""
        self.outputs -= count
        if seconds is not None:
            self._recent_seconds += 0.1 * (seconds - self._recent_seconds)

    def _open(
        self, job: Job, engine: Service[Any], adapter: str | None, deadline_seconds: float | None,
        loop: asyncio.AbstractEventLoop, count: int,
    ) -> LocalGeneration:  # fmt: skip
        """On a thread of its own: templates, tokenizer and grammars may take a while."""
        model = self.model
        prepared = prepare_prompt(job, model.tokenizer, model.chat_template, model.reference)
        sampling, task = self._sampling(job, prepared)
        request = Request(
            prepared.ids,
            sampling,
            adapter=adapter,
            grammar=prepared.grammar,
            priority=job.priority,
            deadline=None if deadline_seconds is None else time.monotonic() + deadline_seconds,
            truncate=job.truncate,
            task=task,
        )
        if job.context_limit is not None and self.decoder_engine is not None:
            _limit_context(request, job.context_limit, self.decoder_engine.limits)
        stream = engine.open_stream(request, loop)
        return LocalGeneration(stream, prepared, sampling, self, count)

    def _sampling(self, job: Job, prepared: PreparedPrompt) -> tuple[SamplingParameters, Generate]:
        options = {name: value for name, value in job.options.items() if value is not None}
        own = {name: options.pop(name) for name in _ENGINE_ONLY if name in options}
        wanted = options.pop("max_tokens", None)  # 0 is allowed here, and absence means up to the context
        defaults = self.model.defaults.updated(options)
        parameters = replace(sampling_of(defaults, 1), **own, max_tokens=wanted)
        if prepared.tool_format is not None:
            parameters = replace(parameters, skip_special_tokens=False)  # markers of calls may be special tokens
        return parameters, task_of(defaults)

    def token(self, token_id: int, logprob: float) -> TokenInfo:
        """A token as clients are shown it."""
        engine = self.decoder_engine
        decoder = engine.text_decoder if engine is not None else None
        raw = decoder.bytes_of(token_id) if decoder is not None else None
        if raw is None:
            return TokenInfo(
                token_id, self.model.tokenizer.decode([token_id], skip_special_tokens=False), None, logprob
            )
        return TokenInfo(token_id, raw.decode("utf-8", "replace"), raw, logprob)

    def token_info(self, entry: TokenLogprob) -> TokenInfo:
        """A reported token with its alternatives."""
        info = self.token(entry.token_id, entry.logprob)
        info.top = [self.token(token_id, logprob) for token_id, logprob in entry.top]
        return info

    async def embed(self, texts: Sequence[str], **options: Any) -> list[Embedding]:
        """Vectors of texts. Raises what :meth:`Model.embed` raises, and TooManyRequests."""
        work: Callable[[], list[Embedding]] = lambda: self.model.embed(list(texts), **options)  # noqa: E731
        return await self._work(work)

    async def classify(self, texts: Sequence[Any], **options: Any) -> list[Classification]:
        """Labels of texts. Raises what :meth:`Model.classify` raises, and TooManyRequests."""
        work: Callable[[], list[Classification]] = lambda: self.model.classify(list(texts), **options)  # noqa: E731
        return await self._work(work)

    async def _work(self, work: Callable[[], _Result]) -> _Result:
        self.reserve(1)
        started = time.monotonic()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self.release(1, time.monotonic() - started)

    def close(self) -> None:
        """Free the model."""
        self._pool.shutdown()
        self.model.close()


def _limit_context(request: Request, limit: int, limits: Limits) -> None:
    """Hold prompt and output to ``limit`` tokens together.

    Raises:
        ContextLengthExceeded: the prompt leaves no room, and may not be cut.
    """
    limit = min(limit, limits.context_length)
    request.prompt_ids, _ = fit_prompt(request, replace(limits, context_length=limit))
    room = limit - len(request.prompt_ids)
    wanted = request.sampling.max_tokens
    request.sampling = replace(request.sampling, max_tokens=room if wanted is None else min(wanted, room))


class LocalGeneration:
    """See :class:`~llmasos.server.serving.job.Generation`."""

    def __init__(
        self, stream: AsyncStream, prepared: PreparedPrompt, sampling: SamplingParameters, model: LocalModel, count: int
    ) -> None:
        self.id = stream.request_id
        self.load_seconds = 0.0
        self.prompt_ids: Sequence[int] | None = prepared.ids
        self._stream = stream
        self._model = model
        self._count = count
        self._started = time.monotonic()
        self._closed = False
        self._readers = [
            OutputReader(
                reasoning=ReasoningReader(begun=prepared.reasoning_begun) if prepared.reasoning else None,
                tools=prepared.tool_format,
            )
            for _ in range(sampling.n)
        ]
        self._plain = all(reader.plain for reader in self._readers)

    async def read(self) -> list[Piece]:
        return [self._piece(delta) for delta in await self._stream.read()]

    def _piece(self, delta: Delta) -> Piece:
        piece = Piece(delta.index, delta.text, token_ids=delta.token_ids, usage=delta.usage)
        if delta.finish_reason is not None:
            self._end(piece, delta)
        elif not self._plain:
            piece.text, piece.reasoning, piece.tool_calls = self._readers[delta.index].push(delta.text)
        if delta.logprobs is not None:
            piece.logprobs = [self._model.token_info(entry) for entry in delta.logprobs]
        if delta.prompt_logprobs is not None:
            piece.prompt_logprobs = [
                None if entry is None else self._model.token_info(entry) for entry in delta.prompt_logprobs
            ]
        return piece

    def _end(self, piece: Piece, delta: Delta) -> None:
        reader = self._readers[delta.index]
        if not reader.plain:
            words, reasoning, calls = reader.push(delta.text)
            rest = reader.finish()
            piece.text, piece.reasoning, piece.tool_calls = words + rest[0], reasoning + rest[1], [*calls, *rest[2]]
        match delta.finish_reason:
            case "stop":
                piece.finish_reason = "tool_calls" if reader.calls else "stop"
            case "length":
                piece.finish_reason = "length"
            case "deadline":
                raise DeadlineExceeded(
                    t("the request was not finished within its time"),
                    hint=t("Ask for fewer tokens, or give it more time."),
                )
            case "cancelled":
                raise Unavailable(t("the model was unloaded"), hint=t("Send the request again."))
            case _:
                raise LLMasOSError(t("the engine could not finish the answer: {error}", error=delta.error))
        piece.stop = delta.stop

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if not self._stream.ended:
            self._stream.cancel()
        self._model.release(self._count, time.monotonic() - self._started)
