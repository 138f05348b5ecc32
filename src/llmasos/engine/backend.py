"""The engine behind the verbs of a model: requests of :mod:`llmasos.modeling` in, its deltas out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from llmasos.engine.request import Request, SamplingParameters
from llmasos.engine.service import Service
from llmasos.engine.task import BeamSearch, Classify, Embed, Generate
from llmasos.errors import LLMasOSError
from llmasos.i18n import t
from llmasos.modeling.options import Seq2SeqOptions
from llmasos.modeling.results import Delta, TokenLogprob

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from llmasos.engine.adapters import AdapterPool
    from llmasos.engine.encoder.engine import EncoderEngine
    from llmasos.engine.engine import Engine
    from llmasos.engine.graphs.decode import DecodeCounts
    from llmasos.engine.graphs.options import DecodePath
    from llmasos.engine.request import Delta as EngineDelta
    from llmasos.modeling.backend import EncoderInput, EncoderNetwork, GenerationRequest
    from llmasos.modeling.options import SamplingOptions

ServiceT = TypeVar("ServiceT", bound=Service[Any])

_DTYPE_OF_PRECISION = {"bf16": "bfloat16", "fp32": "float32"}


class EngineBackend(Generic[ServiceT]):
    """See :class:`~llmasos.modeling.backend.GenerationBackend`."""

    def __init__(
        self,
        engine: ServiceT,
        *,
        device: str,
        precision: str,
        description: str,
        cache_dtype: str | None = None,
        adapters: AdapterPool | None = None,
        decode_path: DecodePath = "eager",
        decode_counts: Callable[[], DecodeCounts | None] = lambda: None,
    ) -> None:
        self.engine = engine
        self.description = description
        self.cache_dtype = cache_dtype
        """The number format of keys and values."""
        self.adapters = adapters
        if adapters is not None:
            adapters.attach(cast("Engine", engine))
        self.decode_path = decode_path
        self._decode_counts = decode_counts
        self._device, self._precision = device, precision

    @property
    def device(self) -> str:
        return self._device

    @property
    def decode_counts(self) -> DecodeCounts | None:
        """What has been run over static shapes and what has not; ``None`` when everything is run eagerly."""
        return self._decode_counts()

    @property
    def dtype(self) -> str:
        return _DTYPE_OF_PRECISION.get(self._precision, self._precision)

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Delta]:
        news = self.engine.stream_together(
            [
                Request(list(item.prompt_ids), sampling_of(item.options, item.max_tokens), task=task_of(item.options))
                for item in requests
            ]
        )
        for index, delta in news:
            if delta.error is not None:
                raise LLMasOSError(t("the engine could not finish the answer: {error}", error=delta.error))
            yield _translated(index, delta)

    def close(self) -> None:
        self.engine.close()


class EncoderEngineBackend:
    """See :class:`~llmasos.modeling.backend.EncoderBackend`."""

    def __init__(self, engine: EncoderEngine, network: EncoderNetwork) -> None:
        self.engine = engine
        self._network = network

    @property
    def device(self) -> str:
        return self._network.device

    @property
    def dtype(self) -> str:
        return self._network.dtype

    def encode(self, inputs: Sequence[EncoderInput], batch_size: int | None) -> list[NDArray[np.float32]]:
        found: dict[int, NDArray[np.float32]] = {}
        for index, delta in self.engine.stream_together(self.requests(inputs, batch_size)):
            found[index] = _values(delta.values, delta.error or delta.finish_reason)
        return [found[index] for index in range(len(inputs))]

    async def aencode(self, inputs: Sequence[EncoderInput], batch_size: int | None = None) -> list[NDArray[np.float32]]:
        """The same in the running asyncio loop; cancelling the task cancels what is not computed."""
        results = await asyncio.gather(*map(self.engine.aresult, self.requests(inputs, batch_size)))
        return [_values(item.values, item.outputs[0].error or item.finish_reason) for item in results]

    def requests(self, inputs: Sequence[EncoderInput], batch_size: int | None = None) -> list[Request]:
        """The engine's form of what an embedder or classifier prepares."""
        embeds = self._network.task == "embed"
        return [
            Request(
                item.ids,
                task=Embed(item.normalize, item.dimensions, item.unpooled_tokens, item.type_ids, batch_size)
                if embeds
                else Classify(item.type_ids, batch_size),
            )
            for item in inputs
        ]

    def close(self) -> None:
        self.engine.close()


def _values(values: NDArray[np.float32] | None, problem: str | None) -> NDArray[np.float32]:
    if values is None:
        raise LLMasOSError(t("the engine could not finish the text: {error}", error=problem))
    return values


def task_of(options: SamplingOptions) -> Generate:
    """What a verb's options ask for beside sampling."""
    if not isinstance(options, Seq2SeqOptions):
        return Generate()
    beams = None
    if options.num_beams > 1:
        beams = BeamSearch(options.num_beams, options.length_penalty, options.early_stopping)
    return Generate(options.no_repeat_ngram_size, options.target_language, beams)


def sampling_of(options: SamplingOptions, max_tokens: int) -> SamplingParameters:
    """The engine's form of a verb's options."""
    return SamplingParameters(
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        min_p=options.min_p,
        repetition_penalty=options.repetition_penalty,
        presence_penalty=options.presence_penalty,
        frequency_penalty=options.frequency_penalty,
        logit_bias=options.logit_bias,
        seed=options.seed,
        max_tokens=max_tokens,
        min_tokens=options.min_tokens,
        stop=options.stop,
        stop_token_ids=options.stop_token_ids,
        ignore_eos=options.ignore_eos,
        logprobs=options.logprobs,
        skip_special_tokens=options.skip_special_tokens,
    )


def _translated(index: int, delta: EngineDelta) -> Delta:
    logprobs = None
    if delta.logprobs is not None:
        logprobs = [TokenLogprob(item.token_id, item.logprob, item.top) for item in delta.logprobs]
    return Delta(
        text=delta.text,
        token_ids=delta.token_ids,
        logprobs=logprobs,
        finish_reason=delta.finish_reason,
        stop=delta.stop,
        index=index,
    )
