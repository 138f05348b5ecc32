"""Models in service: loaded on first use within a memory budget, unloaded when idle, handed to requests."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmasos import hardware
from llmasos.engine.request import Usage
from llmasos.errors import LLMasOSError, NotFound, OutOfMemory, Unsupported
from llmasos.i18n import t
from llmasos.library.digest import is_digest
from llmasos.server.configuration import ServerConfiguration
from llmasos.server.metrics import GenerationTimer, Metrics
from llmasos.server.serving.job import Generation, Job, Piece
from llmasos.server.serving.local import LocalModel
from llmasos.server.serving.names import Names, Target
from llmasos.server.serving.upstream import UpstreamModel
from llmasos.units import format_bytes

if TYPE_CHECKING:
    from llmasos.engine.service import ServiceStats
    from llmasos.library.store import Library
    from llmasos.modeling.model import Model
    from llmasos.modeling.results import Classification, Embedding

logger = logging.getLogger(__name__)

MEMORY_SHARE = 0.8
_CACHE_SHARE = 0.4
_BYTES_PER_WEIGHT = 2  # an upper bound for what the engine loads, before it is known
_LOOK_SECONDS = 1.0

Account = Callable[[Usage], None]
"""Told what a request took, when it ends."""


@dataclass(slots=True)
class Loaded:
    """A model in memory."""

    key: str
    name: str
    local: LocalModel
    bytes: int
    pinned: bool
    load_seconds: float
    users: int = 0
    last_used: float = field(default_factory=time.monotonic)
    keep_alive: float = 300.0

    @property
    def expires_in(self) -> float | None:
        """Seconds until it is unloaded if nobody uses it; ``None``: never."""
        if self.pinned or self.keep_alive < 0:
            return None
        return max(0.0, self.last_used + self.keep_alive - time.monotonic())


class ModelService:
    """All models that the server offers. Its methods belong to one asyncio loop.

    Args:
        configuration: of the server.
        library: where models come from.
        load: makes a model from a reference; default: :func:`llmasos.load`.
    """

    def __init__(
        self, configuration: ServerConfiguration, library: Library, *, load: Callable[..., Model] | None = None
    ) -> None:
        self.configuration = configuration
        self.library = library
        self.names = Names(configuration, library)
        self.metrics = Metrics(self._engine_stats)
        self.ready = False
        """Whether the models of the configuration are loaded and the server is not shutting down."""
        self._load_model = load
        self._loaded: dict[str, Loaded] = {}
        self._loading: dict[str, asyncio.Task[Loaded]] = {}
        self._one_at_a_time = asyncio.Lock()
        self._upstreams: dict[str, UpstreamModel] = {}
        self._watcher: asyncio.Task[None] | None = None
        budget = configuration.memory_budget
        self.memory_budget = budget if budget is not None else int(hardware.memory().available * MEMORY_SHARE)

    # --- life --------------------------------------------------------------------------------------------------

    async def start(self, models: Sequence[str] | None = None) -> None:
        """Find and load the models of the configuration.

        Args:
            models: load these instead.

        Raises:
            LLMasOSError: one cannot be had.
        """
        for reference in self.configuration.models if models is None else models:
            target = await asyncio.to_thread(self._acquire, reference)
            self.names.add(target)
            await self._loaded_model(target, pinned=True)
        for name in self.configuration.adapters:
            self.names.find(name)
        self._watcher = asyncio.create_task(self._unload_idle())
        self.ready = True

    async def close(self) -> None:
        """Unload everything."""
        self.ready = False
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        for task in list(self._loading.values()):
            with contextlib.suppress(LLMasOSError):
                await task
        for upstream in self._upstreams.values():
            await upstream.close()
        for loaded in list(self._loaded.values()):
            del self._loaded[loaded.key]
            await asyncio.to_thread(loaded.local.close)

    def _acquire(self, reference: str) -> Target:
        """A model of the configuration, fetched if need be."""
        if reference.startswith((".", "/", "~", "file:")):
            path = Path(reference.removeprefix("file:")).expanduser().resolve()
            if not path.is_dir():
                raise NotFound(t("{path} is not a folder", path=path), hint=t("Name a model, or its folder."))
            return Target(path.name, str(path), str(path))
        from llmasos.library import acquire

        version = acquire.ensure(reference, library=self.library)
        name = reference if self.library.has(reference) else version.names[0]
        return self.names.model(name, version.digest)

    # --- what the APIs ask -------------------------------------------------------------------------------------

    async def generate(self, job: Job, account: Account | None = None) -> Generation:
        """Accept a job; loading its model may take seconds.

        Raises:
            LLMasOSError: it is not allowed, there is no such model, or there is no room.
        """
        started = time.monotonic()
        target = self.names.find(job.model)
        if target.presets is not None:
            job = target.presets.applied(job)
        deadline = self._deadline(job.deadline_seconds)
        timer = GenerationTimer(self.metrics, job.model, started)
        if target.upstream is not None:
            upstream = await self._upstream(target).generate(job, deadline)
            return ServedGeneration(upstream, self, None, timer, account, job.model)
        loaded, seconds = await self._use(target)
        try:
            adapter = await self._adapter(loaded, target)
            inner = await loaded.local.generate(job, adapter, deadline)
        except BaseException:
            self._done(loaded, job.keep_alive)
            raise
        inner.load_seconds = seconds
        return ServedGeneration(inner, self, loaded, timer, account, job.model, job.keep_alive)

    async def embed(
        self, name: str, texts: Sequence[str], *, keep_alive: float | None = None, **options: Any
    ) -> list[Embedding]:
        """Vectors of texts.

        Raises:
            LLMasOSError: there is no such model, it gives no vectors, or a text does not fit.
        """
        target = self.names.find(name)
        if target.upstream is not None:
            return await self._upstream(target).embed(texts, **options)
        async with self._in_use(target, keep_alive) as loaded:
            return await loaded.local.embed(texts, **options)

    async def classify(self, name: str, texts: Sequence[Any], **options: Any) -> list[Classification]:
        """Labels of texts.

        Raises:
            LLMasOSError: there is no such model, it is no classifier, or a text does not fit.
        """
        async with self._in_use(self._local(name), None) as loaded:
            return await loaded.local.classify(texts, **options)

    async def with_model(self, name: str, work: Callable[[Model], Any]) -> Any:
        """Do something quick with a loaded model (tokenise, count) on a thread of its own.

        Raises:
            LLMasOSError: there is no such model here, or what ``work`` raises.
        """
        async with self._in_use(self._local(name), None) as loaded:
            return await asyncio.to_thread(work, loaded.local.model)

    async def with_adapter(self, name: str, work: Callable[[Model, str | None], Any]) -> Any:
        """:meth:`with_model` for work that needs the adapter of that name, as the engine knows it, too.

        Raises:
            LLMasOSError: as :meth:`with_model`; or the adapter does not fit.
        """
        target = self._local(name)
        async with self._in_use(target, None) as loaded:
            adapter = await self._adapter(loaded, target)
            return await asyncio.to_thread(work, loaded.local.model, adapter)

    async def load(self, name: str, keep_alive: float | None = None) -> float:
        """Load a model if it is not loaded, and return how many seconds that took.

        Raises:
            LLMasOSError: there is no such model, or it does not fit.
        """
        loaded, seconds = await self._use(self._local(name))
        self._done(loaded, keep_alive)
        return seconds

    async def unload(self, name: str) -> bool:
        """Unload a model once nobody uses it; whether it was loaded.

        Raises:
            NotFound: there is no such model.
        """
        loaded = self._loaded.get(self._local(name).key)
        if loaded is None:
            return False
        loaded.keep_alive, loaded.pinned = 0.0, False
        await self._unload_if_expired()
        return True

    def loaded(self) -> list[Loaded]:
        """What is in memory, the longest unused first."""
        return sorted(self._loaded.values(), key=lambda item: item.last_used)

    def _local(self, name: str) -> Target:
        target = self.names.find(name)
        if target.upstream is not None:
            raise Unsupported(
                t("{name} is computed by another server, which cannot be asked for this", name=name),
                hint=t("Name a model of this machine."),
            )
        return target

    def _deadline(self, wanted: float | None) -> float | None:
        limits = [seconds for seconds in (wanted, self.configuration.deadline) if seconds is not None]
        return min(limits) if limits else None

    def _upstream(self, target: Target) -> UpstreamModel:
        assert target.upstream is not None
        found = self._upstreams.get(target.key)
        if found is None:
            found = self._upstreams[target.key] = UpstreamModel(target.name, target.upstream, self.metrics)
        return found

    # --- loading and unloading ---------------------------------------------------------------------------------

    async def _use(self, target: Target) -> tuple[Loaded, float]:
        """The model, counted as in use, and the seconds that loading it took for this caller."""
        started = time.monotonic()
        present = target.key in self._loaded
        loaded = await self._loaded_model(target)
        loaded.users += 1
        return loaded, 0.0 if present else time.monotonic() - started

    def _done(self, loaded: Loaded, keep_alive: float | None) -> None:
        loaded.users -= 1
        loaded.last_used = time.monotonic()
        if keep_alive is not None:
            loaded.keep_alive = keep_alive

    @asynccontextmanager
    async def _in_use(self, target: Target, keep_alive: float | None) -> AsyncIterator[Loaded]:
        loaded, _ = await self._use(target)
        try:
            yield loaded
        finally:
            self._done(loaded, keep_alive)

    async def _loaded_model(self, target: Target, *, pinned: bool = False) -> Loaded:
        loaded = self._loaded.get(target.key)
        if loaded is not None:
            return loaded
        task = self._loading.get(target.key)
        if task is None:
            task = self._loading[target.key] = asyncio.create_task(self._load(target, pinned))
            task.add_done_callback(lambda _: self._loading.pop(target.key, None))
        return await asyncio.shield(task)  # whoever gives up does not stop it for the others

    async def _load(self, target: Target, pinned: bool) -> Loaded:
        async with self._one_at_a_time:
            weights = self._expected_bytes(target)
            await self._make_room(target.name, weights + (self.configuration.cache_bytes or weights // 4))
            free = self.memory_budget - sum(item.bytes for item in self._loaded.values()) - weights
            started = time.monotonic()
            logger.info("loading %s", target.name)
            context = contextvars.copy_context()
            model = await asyncio.to_thread(context.run, self._open, target.reference, max(int(free * _CACHE_SHARE), 1))
            configuration = self.configuration
            local = LocalModel(model, max_sequences=configuration.max_sequences, max_queue=configuration.max_queue)
            seconds = time.monotonic() - started
            loaded = Loaded(
                target.key, target.name, local, _bytes_of(local, weights), pinned, seconds,
                keep_alive=configuration.keep_alive,
            )  # fmt: skip
            self._loaded[target.key] = loaded
            self.metrics.models_loaded.set(len(self._loaded))
            self.metrics.model_loads.labels(target.name).inc()
            self.metrics.model_load_seconds.observe(seconds)
            logger.info("loaded %s in %.1f s, %s", target.name, seconds, format_bytes(loaded.bytes))
            return loaded

    def _open(self, reference: str, cache_limit: int) -> Model:
        from llmasos.engine.options import EngineOptions
        from llmasos.sdk import load

        configuration = self.configuration
        options = EngineOptions(
            max_batch_tokens=configuration.max_batch_tokens, max_sequences=configuration.max_sequences,
            cache_bytes=configuration.cache_bytes, cache_limit=cache_limit,
        )  # fmt: skip
        return (self._load_model or load)(
            reference, dtype=configuration.dtype, device=configuration.device, threads=configuration.threads,
            library=self.library, engine_options=options,
        )  # fmt: skip

    def _expected_bytes(self, target: Target) -> int:
        if is_digest(target.key):
            rows = self.library.catalogue.rows(digest=target.key)
            # An adapter that is loaded as a model of its own comes with its base.
            rows += [base for row in rows for base in self.library.catalogue.rows(digest=row.base_digest or "")]
            return sum(row.size if row.parameters is None else row.parameters * _BYTES_PER_WEIGHT for row in rows)
        return sum(file.stat().st_size for file in Path(target.reference).glob("*.safetensors"))

    async def _make_room(self, name: str, needed: int) -> None:
        """Unload models that nobody uses, the longest unused first, until ``needed`` bytes are free."""
        while True:
            used = sum(item.bytes for item in self._loaded.values())
            if used + needed <= self.memory_budget:
                return
            idle = [item for item in self.loaded() if item.users == 0 and not item.pinned]
            if not idle:
                raise OutOfMemory(
                    t("{name} needs {needed}; of the memory budget of {budget} the models in use take {used}",
                      name=name,
                      needed=format_bytes(needed), budget=format_bytes(self.memory_budget), used=format_bytes(used)),
                    needed=needed, available=max(self.memory_budget - used, 0),
                    hint=t("Try again when they are idle, or start the server with a larger memory_budget."),
                )  # fmt: skip
            await self._unload(idle[0])

    async def _unload(self, loaded: Loaded) -> None:
        del self._loaded[loaded.key]
        self.metrics.models_loaded.set(len(self._loaded))
        logger.info("unloading %s", loaded.name)
        await asyncio.to_thread(loaded.local.close)

    async def _unload_idle(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self._unload_if_expired()

    async def _unload_if_expired(self) -> None:
        for loaded in self.loaded():
            if loaded.users == 0 and loaded.expires_in == 0 and loaded.key in self._loaded:
                await self._unload(loaded)

    async def _adapter(self, loaded: Loaded, target: Target) -> str | None:
        """Make an adapter ready and return its name in the engine."""
        if target.adapter is None:
            return None
        pool = getattr(loaded.local.model.backend, "adapters", None)
        if pool is None:
            raise Unsupported(
                t("{model} cannot take adapters", model=loaded.name), hint=t("Merge the adapter into its base instead.")
            )
        digest = target.adapter
        if digest not in pool.names():
            await asyncio.to_thread(lambda: pool.load(digest, self.library.view(self.library.version(digest))))
        return digest

    def _engine_stats(self) -> Iterator[tuple[str, ServiceStats]]:
        for loaded in list(self._loaded.values()):
            engine = loaded.local.engine
            if engine is not None:
                yield loaded.name, engine.stats()


def _bytes_of(local: LocalModel, expected: int) -> int:
    """What a loaded model takes: its weights, and its cache as far as it may fill."""
    engine = local.decoder_engine
    if engine is None:
        return expected
    stats = engine.stats()
    cache = stats.blocks * stats.block_size * engine.limits.bytes_per_token
    return (engine.weight_bytes or expected) + cache


class ServedGeneration:
    """A generation that counts: times, tokens, who uses the model."""

    def __init__(
        self, inner: Generation, service: ModelService, loaded: Loaded | None, timer: GenerationTimer,
        account: Account | None, model: str, keep_alive: float | None = None,
    ) -> None:  # fmt: skip
        self.id = inner.id
        self.load_seconds = inner.load_seconds
        self.prompt_ids = inner.prompt_ids
        self._inner, self._service, self._loaded = inner, service, loaded
        self._timer, self._account, self._model, self._keep_alive = timer, account, model, keep_alive
        self._ended = self._failed = self._closed = False
        self._tokens = 0

    async def read(self) -> list[Piece]:
        """See :class:`Generation`."""
        try:
            pieces = await self._inner.read()
        except LLMasOSError:
            self._failed = True
            raise
        self._timer.news()
        for piece in pieces:
            self._tokens += len(piece.token_ids)
        usage = pieces[-1].usage
        if usage is not None:
            self._ended = True
            self._timer.end(usage)
            if self._account is not None:
                self._account(usage)
        return pieces

    def close(self) -> None:
        """See :class:`Generation`."""
        if self._closed:
            return
        self._closed = True
        if not self._ended:
            if not self._failed:
                self._service.metrics.cancelled.labels(self._model).inc()
            if self._account is not None:  # what was computed counts, also if nobody waits for the rest
                self._account(Usage(len(self.prompt_ids or ()), self._tokens))
        self._inner.close()
        if self._loaded is not None:
            self._service._done(self._loaded, self._keep_alive)
