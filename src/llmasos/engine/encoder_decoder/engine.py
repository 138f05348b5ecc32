"""The engine of encoder-decoder models: requests join and leave between two decoder steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmasos.engine.encoder_decoder.beams import BeamSearcher
from llmasos.engine.encoder_decoder.core import ActiveOutputs, EncoderDecoderCore
from llmasos.engine.encoder_decoder.rules import ModelRules
from llmasos.engine.intake import Edges, check_task, fit_input
from llmasos.engine.options import CACHE_SHARE, check_options
from llmasos.engine.request import Request
from llmasos.engine.service import Emit, Service, ServiceStats
from llmasos.engine.task import Generate
from llmasos.errors import ContextLengthExceeded, InvalidRequest, OutOfMemory, Unsupported
from llmasos.hardware import memory
from llmasos.i18n import t
from llmasos.modeling.backend import GenerationRequest
from llmasos.modeling.options import Seq2SeqOptions
from llmasos.modeling.text_generation import DEFAULT_MAX_TOKENS
from llmasos.units import format_bytes

if TYPE_CHECKING:
    from llmasos.engine.encoder_decoder.runner import EncoderDecoderRunner
    from llmasos.engine.text_decoder import TextDecoder
    from llmasos.modeling.languages import Languages
    from llmasos.modeling.transformers_backend import TransformersBackend


@dataclass(frozen=True, slots=True)
class EncoderDecoderOptions:
    """How much an encoder-decoder model computes at once."""

    max_batch_tokens: int = 4096
    """Tokens of the prompts that are read between two steps, padding counted."""
    max_sequences: int = 64
    """Outputs computed at the same time."""
    aging_seconds: float = 30.0
    """Head start that one level of priority gives."""
    cache_bytes: int | None = None
    """Memory for keys and values; ``None``: a share of what is available."""

    def check(self) -> None:
        """Refuse values that cannot work.

        Raises:
            InvalidRequest: with all problems.
        """
        check_options(self, whole=("max_batch_tokens", "max_sequences", "cache_bytes"), positive=("aging_seconds",))


@dataclass(frozen=True, slots=True)
class EncoderDecoderStats(ServiceStats):
    """The engine of an encoder-decoder model; ``running`` and ``waiting`` include requests for beam search."""

    beam_searches: int
    """Searches ended, each for one or more requests."""


@dataclass(frozen=True)
class ModelFacts:
    """What the engine must know of a model beside its weights."""

    start_id: int
    """The token that every output begins after."""
    end_ids: tuple[int, ...]
    policy: Mapping[str, Any]
    """See :func:`llmasos.modeling.generation_defaults.policy`."""
    input_limit: int | None
    """Longest prompt in tokens; ``None``: no fixed limit."""
    output_limit: int | None
    """Longest output in tokens."""
    default_max_tokens: int | None = None
    """Length of outputs for which none is asked."""
    edges: Edges = field(default_factory=Edges)
    languages: Languages | None = None


class EncoderDecoderEngine(Service[ActiveOutputs]):
    """Serves one encoder-decoder model with one inference thread. All methods may be called from any thread."""

    def __init__(
        self,
        runner: EncoderDecoderRunner,
        decoder: TextDecoder,
        facts: ModelFacts,
        beams: TransformersBackend,
        *,
        options: EncoderDecoderOptions | None = None,
    ) -> None:
        """Start the thread.

        Args:
            runner: the model; the engine closes it.
            decoder: of the model's tokenizer.
            facts: what else is known of the model.
            beams: searches with beams, on the same weights.
            options: limits.
        """
        options = options or EncoderDecoderOptions()
        options.check()
        self._runner, self._decoder, self._facts = runner, decoder, facts
        self._cache_bytes = options.cache_bytes or int(memory().available * CACHE_SHARE)
        self._core = EncoderDecoderCore(
            runner,
            ModelRules(facts.policy, end_ids=facts.end_ids),
            BeamSearcher(beams, options.aging_seconds),
            start_id=facts.start_id,
            most_tokens=options.max_batch_tokens,
            most_rows=options.max_sequences,
            cache_bytes=self._cache_bytes,
            aging=options.aging_seconds,
        )
        super().__init__(self._core)

    def stats(self) -> EncoderDecoderStats:
        """Counters and gauges, read without stopping the engine."""
        core = self._core
        return EncoderDecoderStats(
            running=len(core.live) + core.beams.running, waiting=len(core.line) + core.beams.waiting,
            requests=self._requests, passes=core.passes, rows=core.rows,
            prompt_tokens=core.prompt_tokens + core.beams.prompt_tokens,
            output_tokens=core.output_tokens + core.beams.output_tokens, beam_searches=core.beams.searches,
        )  # fmt: skip

    def _prepare(self, request: Request, emit: Emit) -> ActiveOutputs:
        facts, task, sampling = self._facts, request.task, request.sampling
        request.check(self._runner.vocabulary_size)
        check_task(request, Generate)
        assert isinstance(task, Generate)
        _refuse(request)
        prompt, places = fit_input(request, facts.input_limit, facts.edges)
        wanted = sampling.max_tokens or facts.default_max_tokens or DEFAULT_MAX_TOKENS
        if facts.output_limit is not None and wanted > facts.output_limit:
            if sampling.max_tokens is not None:
                raise ContextLengthExceeded(
                    t("max_tokens = {asked} is more than the model can write here: {limit}",
                      asked=sampling.max_tokens, limit=facts.output_limit),
                    hint=t("Ask for fewer tokens, or leave max_tokens out."),
                )  # fmt: skip
            wanted = facts.output_limit
        needed = self._core.needed_bytes(sampling.choices, [(len(prompt), wanted)])
        if needed > self._cache_bytes:
            raise OutOfMemory(
                t("the prompt of {count} tokens needs {needed} of key-value cache and the cache has {available}",
                  count=len(prompt), needed=format_bytes(needed), available=format_bytes(self._cache_bytes)),
                needed=needed, available=self._cache_bytes,
                hint=t("Give the engine a larger cache, or shorten the prompt."),
            )  # fmt: skip
        first = None
        if task.target_language is not None and facts.languages is not None:
            first = facts.languages.first_token(task.target_language).get("forced_bos_token_id")
        active = ActiveOutputs(
            request, self._name(request), prompt, limit=len(prompt) + wanted,
            truncated=len(request.prompt_ids) - len(places), decoder=self._decoder, eos_ids=facts.end_ids,
            output_prefix=(facts.start_id,), emit=emit,
        )  # fmt: skip
        active.first_token_id = first
        active.beam_request = None if task.beams is None else _beam_request(request, prompt, wanted)
        return active


def _refuse(request: Request) -> None:
    """Raise for what encoder-decoder models cannot do, and for what does not go with beam search.

    Raises:
        Unsupported, InvalidRequest: with the names of the fields.
    """
    sampling = request.sampling
    given = [name for name in ("adapter", "grammar", "steering") if getattr(request, name) is not None]
    given += ["echo"] if sampling.echo else []
    given += ["prompt_logprobs"] if sampling.prompt_logprobs is not None else []
    if given:
        raise Unsupported(
            t("an encoder-decoder model cannot serve a request with {fields}", fields=", ".join(given)),
            hint=t("Leave it out."),
        )
    task = request.task
    assert isinstance(task, Generate)
    if task.beams is None:
        return
    neutral: dict[str, Any] = {
        "n": 1, "best_of": None, "logprobs": None, "presence_penalty": 0.0, "frequency_penalty": 0.0, "logit_bias": {},
        "stop_token_ids": (), "ignore_eos": False, "temperature": 0.0,
    }  # fmt: skip
    given = [name for name, value in neutral.items() if getattr(sampling, name) != value]
    if given:
        raise InvalidRequest(
            t("{fields} does not go with beam search", fields=", ".join(given)),
            hint=t("Set temperature = 0 and leave the others out, or leave beams out."),
        )


def _beam_request(request: Request, prompt: list[int], max_tokens: int) -> GenerationRequest:
    sampling, task = request.sampling, request.task
    assert isinstance(task, Generate) and task.beams is not None
    options = Seq2SeqOptions(
        repetition_penalty=sampling.repetition_penalty, min_tokens=sampling.min_tokens, stop=sampling.stop,
        skip_special_tokens=sampling.skip_special_tokens, num_beams=task.beams.width,
        length_penalty=task.beams.length_penalty, early_stopping=task.beams.early_stopping,
        no_repeat_ngram_size=task.no_repeat_ngram_size, target_language=task.target_language,
    )  # fmt: skip
    return GenerationRequest(prompt, options, max_tokens)
