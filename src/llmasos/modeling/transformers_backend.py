"""Any generating model of transformers as a :class:`~llmasos.modeling.backend.GenerationBackend`.

The forward passes, caches and the beam search are transformers' own ``generate``. Choosing tokens is ours: a logits
processor at the end of the chain picks the token of each row by its own options and leaves only that one possible,
so requests with different sampling, seeds and stop texts share a batch and the global random generator stays alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from llmasos.modeling.backend import GenerationRequest
from llmasos.modeling.detokenizer import IncrementalDetokenizer, StopMatcher
from llmasos.modeling.languages import Languages
from llmasos.modeling.options import SamplingOptions, Seq2SeqOptions
from llmasos.modeling.results import Delta
from llmasos.modeling.sampler import Sampler
from llmasos.modeling.tokenizer import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOST_ROWS = 32
"""Rows of one batch; more requests wait for the next."""
MOST_TOKENS = 65_536
"""Tokens of one batch, padding and output included; bounds the memory of the cache."""


class TransformersBackend:
    """Runs a decoder-only or encoder-decoder model.

    Args:
        model: the loaded model.
        tokenizer: turns its tokens into text.
        end_ids: the model's own end tokens.
        policy: fixed rules of the model's generation configuration (:func:`~.generation_defaults.policy`).
        languages: language codes of a multilingual model.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Tokenizer,
        *,
        end_ids: Sequence[int],
        policy: Mapping[str, Any],
        languages: Languages | None = None,
    ) -> None:
        self._model = cast(Any, model)  # what a model takes and returns differs from class to class
        self._tokenizer = tokenizer
        self._end_ids = tuple(end_ids)
        self._seq2seq = bool(model.config.is_encoder_decoder)
        self._policy = dict(policy)
        self._languages = languages
        # `generate` fills in whatever its argument leaves open from the model's own configuration.
        self._model.generation_config = _settings()

    @property
    def model(self) -> PreTrainedModel:
        """The model itself, for an engine that steps it."""
        return cast("PreTrainedModel", self._model)

    @property
    def policy(self) -> Mapping[str, Any]:
        """Fixed rules of the model's generation configuration."""
        return self._policy

    @property
    def device(self) -> str:
        return str(self._model.device)

    @property
    def dtype(self) -> str:
        return str(self._model.dtype).removeprefix("torch.")

    def close(self) -> None:
        self._model = None

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Delta]:
        """See :class:`~llmasos.modeling.backend.GenerationBackend`."""
        news: SimpleQueue[Delta | None] = SimpleQueue()
        cancelled = threading.Event()

        def work() -> None:
            try:
                for batch in self.group(requests):
                    if not cancelled.is_set():
                        self._run(requests, batch, news, cancelled)
            finally:
                news.put(None)

        with ThreadPoolExecutor(1, thread_name_prefix="generate") as pool:
            done = pool.submit(work)
            try:
                while (delta := news.get()) is not None:
                    yield delta
                done.result()
            finally:
                cancelled.set()

    def _run(
        self,
        requests: Sequence[GenerationRequest],
        batch: list[int],
        news: SimpleQueue[Delta | None],
        cancelled: threading.Event,
    ) -> None:
        """Generate for the requests with the indices ``batch``, which share their beam search settings."""
        chosen = [requests[index] for index in batch]
        if _beams(chosen[0].options) > 1:
            for index, delta in zip(batch, self.search(chosen, lambda: not cancelled.is_set()), strict=True):
                if not cancelled.is_set():
                    delta.index = index
                    news.put(delta)
            return
        inputs = self._padded(chosen)
        config = self._configuration(chosen, inputs["input_ids"].shape[1])
        rows = [
            _Row(index, requests[index], self._tokenizer, self._end_ids, self._before_output(requests[index]),
                 self._policy.get("forced_eos_token_id") if self._seq2seq else None)
            for index in batch
        ]  # fmt: skip
        self._model.generate(
            **inputs,
            generation_config=config,
            logits_processor=LogitsProcessorList([_ChooseTokens(rows, news, int(self._policy["pad_token_id"]))]),
            stopping_criteria=StoppingCriteriaList([_AllFinished(rows, cancelled)]),
        )

    def search(self, requests: Sequence[GenerationRequest], wanted: Callable[[], bool]) -> list[Delta]:
        """Beam search for requests of one :meth:`group`: the whole best output of each.

        Args:
            wanted: asked at every step; when it gives ``False`` the search stops and the results mean nothing.
        """
        inputs = self._padded(requests)
        config = self._configuration(requests, inputs["input_ids"].shape[1])
        stop = StoppingCriteriaList([_Unwanted(wanted)])
        output = self._model.generate(**inputs, generation_config=config, stopping_criteria=stop)
        return [self._beam_result(row, request, output[row].tolist()) for row, request in enumerate(requests)]

    @staticmethod
    def group(requests: Sequence[GenerationRequest]) -> list[list[int]]:
        """Indices of requests that run together: alike in what a batch must share, and near in length."""
        return _batches(requests)

    def _before_output(self, request: GenerationRequest) -> Sequence[int]:
        """The tokens that the output continues."""
        return [int(self._policy["decoder_start_token_id"])] if self._seq2seq else request.prompt_ids

    def _padded(self, requests: Sequence[GenerationRequest]) -> dict[str, torch.Tensor]:
        """``input_ids`` and ``attention_mask``, (rows, longest): decoders are padded on the left."""
        longest = max(len(request.prompt_ids) for request in requests)
        ids = torch.full((len(requests), longest), int(self._policy["pad_token_id"]), dtype=torch.long)
        mask = torch.zeros((len(requests), longest), dtype=torch.long)
        for row, request in enumerate(requests):
            length = len(request.prompt_ids)
            place = slice(0, length) if self._seq2seq else slice(longest - length, longest)
            ids[row, place] = torch.tensor(request.prompt_ids)
            mask[row, place] = 1
        device = self._model.device
        return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}

    def _configuration(self, requests: Sequence[GenerationRequest], width: int) -> GenerationConfig:
        """transformers' settings for one batch; everything that differs between rows is left to :class:`_Row`."""
        options = requests[0].options
        values = dict(self._policy)
        # The length counts what is before the output: the prompt, or the decoder's start token.
        values["max_length"] = max(request.max_tokens for request in requests) + (1 if self._seq2seq else width)
        if not isinstance(options, Seq2SeqOptions):
            return _settings(do_sample=False, use_cache=True, **values)
        values["no_repeat_ngram_size"] = options.no_repeat_ngram_size
        if self._languages is not None:
            values |= self._languages.first_token(options.target_language)
        if options.num_beams == 1:
            values.pop("forced_eos_token_id", None)  # at the end of each row, not of the longest: see _Row
        else:
            values |= {
                "num_beams": options.num_beams,
                "length_penalty": options.length_penalty,
                "early_stopping": options.early_stopping,
                "repetition_penalty": options.repetition_penalty,
                "eos_token_id": list(self._end_ids) or None,
                "min_new_tokens": options.min_tokens or None,
            }
        return _settings(do_sample=False, use_cache=True, **values)

    def _beam_result(self, index: int, request: GenerationRequest, output: list[int]) -> Delta:
        """The best hypothesis of one request; ``output`` begins with the decoder's start token."""
        ids = output[1 : 1 + request.max_tokens]
        end = next((place for place, token in enumerate(ids) if token in self._end_ids), None)
        forced = len(ids) == request.max_tokens and self._policy.get("forced_eos_token_id") is not None
        natural = end is not None and not (forced and end == len(ids) - 1)
        ids = ids if end is None else ids[: end + 1]
        text = self._tokenizer.decode(ids, skip_special_tokens=request.options.skip_special_tokens)
        matcher = StopMatcher(request.options.stop)
        shown, stop = matcher.push(text)
        shown += "" if stop else matcher.finish()
        return Delta(shown, ids, None, "stop" if stop or natural else "length", stop, index)


def _settings(**values: Any) -> GenerationConfig:
    untyped: Any = GenerationConfig
    return untyped(**values)  # type: ignore[no-any-return]


def _beams(options: SamplingOptions) -> int:
    return options.num_beams if isinstance(options, Seq2SeqOptions) else 1


def _batches(requests: Sequence[GenerationRequest]) -> list[list[int]]:
    """Indices of requests that run together: alike in what a batch must share, and near in length."""

    def shared(index: int) -> tuple[object, ...]:
        options = requests[index].options
        if not isinstance(options, Seq2SeqOptions):
            return ()
        if options.num_beams > 1:
            return (repr(options), requests[index].max_tokens)
        return (options.no_repeat_ngram_size, options.target_language)

    batches: list[list[int]] = []
    order = sorted(range(len(requests)), key=lambda index: (repr(shared(index)), -len(requests[index].prompt_ids)))
    for index in order:
        batch = batches[-1] if batches else []
        request = requests[index]
        rows = (len(batch) + 1) * _beams(request.options)
        # The first of a batch is its longest.
        tokens = rows * (len(requests[batch[0]].prompt_ids) + request.max_tokens) if batch else 0
        if batch and shared(batch[0]) == shared(index) and rows <= MOST_ROWS and tokens <= MOST_TOKENS:
            batch.append(index)
        else:
            batches.append([index])
    return batches


class _Row:
    """One request within a batch: chooses its tokens and turns them into deltas."""

    def __init__(
        self,
        index: int,
        request: GenerationRequest,
        tokenizer: Tokenizer,
        end_ids: Sequence[int],
        before: Sequence[int],
        forced_end: int | None,
    ) -> None:
        options = request.options
        self.finished = False
        self._index = index
        self._options = options
        self._left = request.max_tokens
        self._end_ids = frozenset(() if options.ignore_eos else end_ids)
        self._forced_end = None if options.ignore_eos else forced_end
        self._sampler = Sampler(options, end_ids={*end_ids, *options.stop_token_ids}, context=before)
        seq2seq = isinstance(options, Seq2SeqOptions)
        self._detokenizer = IncrementalDetokenizer(
            lambda ids: tokenizer.decode(ids, skip_special_tokens=options.skip_special_tokens),
            () if seq2seq else before,
        )
        self._matcher = StopMatcher(options.stop)

    def step(self, logits: torch.Tensor) -> tuple[int, Delta]:
        """Choose the next token from (vocabulary,) logits."""
        self._left -= 1
        forced = self._forced_end is not None and self._left == 0
        if forced:
            assert self._forced_end is not None
            token, logprob = self._sampler.force(logits, self._forced_end)
        else:
            token, logprob = self._sampler.choose(logits)
        delta = Delta(token_ids=[token], logprobs=None if logprob is None else [logprob], index=self._index)
        by_id = token in self._options.stop_token_ids
        ended = by_id or (token in self._end_ids and not forced)
        if not ended or (token in self._end_ids and not self._options.skip_special_tokens):
            self._show(delta, self._detokenizer.push([token]))
        if ended and delta.finish_reason is None:
            self._show(delta, self._detokenizer.finish())
            delta.text += "" if delta.stop else self._matcher.finish()
            delta.finish_reason = "stop"
            delta.stop = delta.stop if delta.stop is not None or not by_id else token
        elif self._left == 0 and delta.finish_reason is None:
            self._show(delta, self._detokenizer.finish())
            if delta.finish_reason is None:
                delta.text += self._matcher.finish()
                delta.finish_reason = "length"
        self.finished = delta.finish_reason is not None
        return token, delta

    def _show(self, delta: Delta, text: str) -> None:
        """Add text to a delta unless a stop text ends it; before ``min_tokens`` stop texts do not count."""
        if self._sampler.chosen < self._options.min_tokens:
            delta.text += text
            return
        shown, stop = self._matcher.push(text)
        delta.text += shown
        if stop is not None:
            delta.finish_reason, delta.stop = "stop", stop


class _ChooseTokens(LogitsProcessor):
    """Lets each row choose and leaves only its choice possible, so that transformers' argmax takes it."""

    def __init__(self, rows: Sequence[_Row], news: SimpleQueue[Delta | None], padding: int) -> None:
        self._rows = rows
        self._news = news
        self._padding = padding

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        tokens = []
        for row, logits in zip(self._rows, scores, strict=True):
            token, delta = (self._padding, None) if row.finished else row.step(logits)
            tokens.append(token)
            if delta is not None:
                self._news.put(delta)
        choice = torch.full_like(scores, -torch.inf)
        choice[torch.arange(len(tokens)), torch.tensor(tokens, device=scores.device)] = 0.0
        return choice


class _AllFinished(StoppingCriteria):
    """Ends the batch when its last row has ended or nobody wants it any more."""

    def __init__(self, rows: Sequence[_Row], cancelled: threading.Event) -> None:
        self._rows = rows
        self._cancelled = cancelled

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: object) -> torch.Tensor:
        done = [row.finished or self._cancelled.is_set() for row in self._rows]
        return torch.tensor(done, device=input_ids.device)


class _Unwanted(StoppingCriteria):
    """Ends beam search when nobody wants it any more."""

    def __init__(self, wanted: Callable[[], bool]) -> None:
        self._wanted = wanted

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: object) -> torch.Tensor:
        return torch.full((len(input_ids),), not self._wanted(), device=input_ids.device)
