"""The engine behind the verbs of a model: requests of :mod:`llmasos.modeling` in, its deltas out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from llmasos.engine.request import Delta as EngineDelta
from llmasos.engine.request import Request, SamplingParameters
from llmasos.errors import LLMasOSError
from llmasos.i18n import t
from llmasos.modeling.results import Delta, TokenLogprob

if TYPE_CHECKING:
    from llmasos.engine.adapters import AdapterPool
    from llmasos.engine.engine import Engine
    from llmasos.modeling.backend import GenerationRequest
    from llmasos.modeling.options import SamplingOptions


_DTYPE_OF_PRECISION = {"bf16": "bfloat16", "fp32": "float32"}


class EngineBackend:
    """See :class:`~llmasos.modeling.backend.GenerationBackend`."""

    def __init__(
        self,
        engine: Engine,
        *,
        device: str,
        precision: str,
        cache_dtype: str,
        description: str,
        adapters: AdapterPool | None = None,
    ) -> None:
        self.engine = engine
        self.description = description
        self.cache_dtype = cache_dtype
        """The number format of keys and values."""
        self.adapters = adapters
        if adapters is not None:
            adapters.attach(engine)
        self._device, self._precision = device, precision

    @property
    def device(self) -> str:
        return self._device

    @property
    def dtype(self) -> str:
        return _DTYPE_OF_PRECISION.get(self._precision, self._precision)

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Delta]:
        news = self.engine.stream_together(
            [Request(list(item.prompt_ids), sampling_of(item.options, item.max_tokens)) for item in requests]
        )
        for index, delta in news:
            if delta.error is not None:
                raise LLMasOSError(t("the engine could not finish the answer: {error}", error=delta.error))
            yield _translated(index, delta)

    def close(self) -> None:
        self.engine.close()


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
