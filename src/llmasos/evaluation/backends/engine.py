"""Decoder-only models of the library: all calls go to the engine, which computes shared beginnings once."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llmasos.engine.request import Request, SamplingParameters, TokenLogprob
from llmasos.errors import ContextLengthExceeded, InvalidRequest, LLMasOSError, OutOfMemory
from llmasos.evaluation.backends.encoding import PromptEncoder, rolling_windows
from llmasos.evaluation.backends.protocol import (
    Ability,
    Answer,
    Call,
    Continue,
    Predict,
    PromptInput,
    Write,
    Written,
)
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.engine.engine import Engine
    from llmasos.engine.stream import Result, Stream

AHEAD = 2048
"""Requests that are queued before the oldest is read: enough for full batches, and memory stays bounded."""


@dataclass(slots=True)
class _Pending:
    """A call in flight: one request, or one for each window of a text."""

    index: int
    answer: Answer
    streams: list[Stream]
    targets: list[list[int]]
    """The tokens that are predicted, for each request; empty for answers that are written."""


class EngineBackend:
    """See :class:`~llmasos.evaluation.backends.protocol.Backend`.

    Args:
        engine: serves the model; it is not closed here.
        encoder: of the model's tokenizer and template.
        adapter: name of an adapter that the engine has.
    """

    abilities: frozenset[Ability] = frozenset({"loglikelihood", "perplexity", "generate"})
    labels: Sequence[str] | None = None

    def __init__(
        self,
        engine: Engine,
        encoder: PromptEncoder,
        *,
        reference: str,
        digest: str | None = None,
        facts: Mapping[str, Any] | None = None,
        adapter: str | None = None,
    ) -> None:
        self._engine, self._encoder, self._adapter = engine, encoder, adapter
        self.reference, self.digest = reference, digest
        self.facts: Mapping[str, Any] = {**(facts or {}), "context": engine.limits.sequence_tokens}
        self.has_chat_template: bool | None = encoder.template is not None

    @property
    def notes(self) -> tuple[str, ...]:
        return encoder_notes(self._encoder)

    def show(self, prompt: PromptInput) -> str:
        return str(self._encoder.rendered(prompt))

    def run(self, calls: Sequence[Call]) -> Iterator[tuple[int, Answer]]:
        pending: deque[_Pending] = deque()
        queued = 0
        coming = enumerate(calls)
        with self._engine.together():  # the same calls share passes in every run, and rounding is the same to the bit
            for index, call in coming:
                pending.append(self._submit_or_refuse(index, call))
                queued += len(pending[-1].streams)
                if queued > AHEAD:
                    break
        while pending:
            first = pending.popleft()
            queued -= len(first.streams)
            yield first.index, _finished(first)
            while queued <= AHEAD and (more := next(coming, None)) is not None:
                pending.append(self._submit_or_refuse(*more))
                queued += len(pending[-1].streams)

    def close(self) -> None:
        """Nothing: the engine belongs to whoever opened it."""

    def _shown(self, call: Call) -> str:
        return self.show(call.prompt) if isinstance(call, Continue | Write) else call.text

    def _submit_or_refuse(self, index: int, call: Call) -> _Pending:
        """A call in flight; one that cannot be computed has its answer already."""
        try:
            return self._submit(index, call)
        except (ContextLengthExceeded, OutOfMemory) as error:
            return _Pending(index, Answer(self._shown(call), error=error.message), [], [])

    def _submit(self, index: int, call: Call) -> _Pending:
        if isinstance(call, Continue):
            sent, context, continuation = self._encoder.pair(call.prompt, call.continuation)
            return self._score(index, sent, context, continuation)
        if isinstance(call, Predict):
            return self._predict(index, call)
        if isinstance(call, Write):
            return self._write(index, call)
        raise InvalidRequest(t("this model writes text and is no classifier"))

    def _score(self, index: int, sent: str, context: list[int], continuation: list[int]) -> _Pending:
        if not context or not continuation:
            return _Pending(index, Answer(sent, error=t("there is nothing to rate: a text is empty")), [], [])
        room = self._engine.limits.sequence_tokens - len(continuation)
        if room < 1:
            raise ContextLengthExceeded(
                t("the text to rate has {count} tokens; the model's context holds {limit}", count=len(continuation),
                  limit=self._engine.limits.sequence_tokens)
            )  # fmt: skip
        cut = max(len(context) - room, 0)
        answer = Answer(sent, len(context) - cut, tokens=len(continuation), truncated_tokens=cut)
        stream = self._engine.submit(self._scoring(context[cut:], continuation))
        return _Pending(index, answer, [stream], [continuation])

    def _scoring(self, context: list[int], text: list[int]) -> Request:
        parameters = SamplingParameters(
            temperature=0, max_tokens=0, prompt_logprobs=1, prompt_logprobs_from=len(context)
        )
        return Request(context + text, parameters, adapter=self._adapter)

    def _predict(self, index: int, call: Predict) -> _Pending:
        tokens = self._encoder.text(call.text)
        longest = self._engine.limits.sequence_tokens - 1  # the last token is predicted, and takes a place all the same
        window = longest if call.window is None else call.window
        if window > longest:
            raise ContextLengthExceeded(
                t("window = {size} tokens; the model takes {limit}", size=window, limit=longest)
            )
        windows = list(rolling_windows(tokens, self._encoder.begin_id, window))
        if not windows:
            return _Pending(index, Answer(call.text, error=t("there is nothing to rate: a text is empty")), [], [])
        streams = [self._engine.submit(self._scoring(context, predicted)) for context, predicted in windows]
        targets = [predicted for _, predicted in windows]
        answer = Answer(call.text, len(tokens), tokens=sum(map(len, targets)))
        return _Pending(index, answer, streams, targets)

    def _write(self, index: int, call: Write) -> _Pending:
        sent, ids = self._encoder.prompt(call.prompt)
        if not ids:
            return _Pending(index, Answer(sent, error=t("the prompt is empty: at least one token is needed")), [], [])
        parameters = SamplingParameters(
            temperature=call.temperature, top_p=call.top_p, max_tokens=call.max_tokens, stop=call.stop, n=call.samples,
            seed=call.seed,
        )  # fmt: skip
        stream = self._engine.submit(Request(ids, parameters, adapter=self._adapter, truncate="left"))
        return _Pending(index, Answer(sent), [stream], [])


def encoder_notes(encoder: PromptEncoder) -> tuple[str, ...]:
    """What the template of a model makes a reader of scores have to know."""
    if encoder.template is not None and encoder.template.reads_clock():
        return (t("The model's chat template writes the date, so that prompts of another day differ."),)
    return ()


def _finished(item: _Pending) -> Answer:
    """Wait for a call and put its results together."""
    if not item.streams:
        return item.answer
    results = [stream.result() for stream in item.streams]
    seconds = max(result.usage.total_seconds for result in results)
    failed = next((output for result in results for output in result.outputs if output.error is not None), None)
    if failed is not None:
        return replace(item.answer, error=t("the engine could not finish the answer: {error}", error=failed.error))
    if item.targets:
        return _rated(item, results, seconds)
    (result,) = results
    outputs = tuple(Written(output.text, str(output.finish_reason)) for output in result.outputs)
    return replace(
        item.answer, prompt_tokens=result.usage.prompt_tokens, outputs=outputs, seconds=seconds,
        truncated_tokens=result.usage.truncated_tokens,
    )  # fmt: skip


def _rated(item: _Pending, results: Sequence[Result], seconds: float) -> Answer:
    total, greedy = 0.0, True
    for result, target in zip(results, item.targets, strict=True):
        entries = _entries(result, len(target))
        total += math.fsum(entry.logprob for entry in entries)
        if not math.isfinite(total):
            return replace(item.answer, error=not_a_number(total), seconds=seconds)
        greedy = greedy and all(entry.top[0][0] == token for entry, token in zip(entries, target, strict=True))
    return replace(item.answer, logprob=total, greedy=greedy, seconds=seconds)


def not_a_number(value: float) -> str:
    """The error of a sample whose log-probability is no finite number."""
    return t("the model gave the log-probability {value}: its weights or number format are at fault", value=value)


def _entries(result: Result, count: int) -> list[TokenLogprob]:
    if result.prompt_logprobs is None:
        raise LLMasOSError(t("scoring failed: {error}", error=result.finish_reason))
    entries = [entry for entry in result.prompt_logprobs[-count:] if entry is not None]
    assert len(entries) == count
    return entries
