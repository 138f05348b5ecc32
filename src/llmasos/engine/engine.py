"""The engine of decoder-only models as its callers see it: requests, adapters, the cache, figures."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llmasos.engine.core import EngineCore
from llmasos.engine.detokenizer import text_decoder
from llmasos.engine.grammar import GrammarCompiler
from llmasos.engine.grammar_vocabulary import GrammarVocabulary
from llmasos.engine.intake import Limits, check_capabilities, check_task, fit_prompt
from llmasos.engine.options import EngineOptions, cache_blocks
from llmasos.engine.output import ActiveRequest
from llmasos.engine.request import Request
from llmasos.engine.service import Emit, Service, ServiceStats
from llmasos.engine.speculation.prompt_lookup import PromptLookupProposer
from llmasos.engine.speculation.speculator import Proposer
from llmasos.engine.task import Generate
from llmasos.errors import InUse, InvalidRequest, Unsupported
from llmasos.i18n import t

if TYPE_CHECKING:
    import torch

    from llmasos.engine.architecture import DecoderSpec
    from llmasos.engine.kernels.decoder import AdapterLayers
    from llmasos.engine.runner import ModelRunner
    from llmasos.engine.text_decoder import TextDecoder


@dataclass(frozen=True, slots=True)
class EngineStats(ServiceStats):
    """The engine of a decoder-only model; ``prompt_tokens`` are those of ended requests, ``rows`` include drafts."""

    blocks: int
    free_blocks: int
    cached_blocks: int
    """Blocks that hold prefixes, in use or not."""
    block_size: int
    cached_tokens: int
    """Tokens of prompts that were found in the cache."""
    preemptions: int
    evictions: int
    """Blocks of past prefixes that made room."""
    copies: int
    """Blocks copied on write."""
    speculative_proposed: int
    speculative_accepted: int


class Engine(Service[ActiveRequest]):
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
        self.default_adapter: str | None = None
        """The adapter of requests that name none."""
        self._decoder = None if tokenizer is None else text_decoder(tokenizer)
        self._eos_ids = frozenset(eos_token_ids)
        self._grammars: GrammarCompiler | None = None
        if tokenizer is not None:
            vocabulary = GrammarVocabulary(
                tokenizer, vocabulary_size=runner.vocabulary_size, eos_ids=sorted(self._eos_ids)
            )
            self._grammars = GrammarCompiler(vocabulary)
        super().__init__(self._core)

    # --- for callers ------------------------------------------------------------------------------------------

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

    @property
    def spec(self) -> DecoderSpec | None:
        """The model's shape; ``None`` if the runner does not say."""
        found: DecoderSpec | None = getattr(self._runner, "spec", None)
        return found

    def logits_of(self, hidden: torch.Tensor) -> torch.Tensor:
        """What the model would say from hidden states that a :class:`~llmasos.engine.hooks.Recorder` kept, of whatever
        layer: (rows, hidden) -> (rows, vocabulary), float32 on the CPU. Computed between two passes.

        Raises:
            Unsupported: the runner does not show hidden states.
            Unavailable: the engine is closed.
        """
        if "hidden_states" not in self.limits.capabilities:
            raise Unsupported(t("this model's runner does not show hidden states"))
        found: list[torch.Tensor] = []
        self._call(lambda: found.append(self._runner.logits_of(hidden)))
        return found[0]

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

    # --- inside -----------------------------------------------------------------------------------------------

    def _prepare(self, request: Request, emit: Emit) -> ActiveRequest:
        request.check(self.limits.vocabulary_size)
        check_task(request, Generate)
        if request.adapter is None and self.default_adapter is not None:
            request = replace(request, adapter=self.default_adapter)
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
        request_id = self._name(request)
        longest = self.limits.sequence_tokens
        wanted = request.sampling.max_tokens
        grammars = None
        if request.grammar is not None and self._grammars is not None:
            grammars = [self._grammars.start(request.grammar) for _ in range(request.sampling.choices)]
        return ActiveRequest(
            request, request_id, prompt, limit=longest if wanted is None else min(len(prompt) + wanted, longest),
            truncated=cut, decoder=self._decoder, eos_ids=self._eos_ids, grammars=grammars, emit=emit,
        )  # fmt: skip

    def _forget(self, adapter: str | None) -> None:
        users = [active.request_id for active in self._core.live if active.request.adapter == adapter]
        if users:
            raise InUse(
                t("{count} request(s) use {adapter} now", count=len(users), adapter=adapter or t("the base model")),
                hint=t("Wait for their end or cancel them."),
            )
        self._core.cache.drop_adapter(adapter)
