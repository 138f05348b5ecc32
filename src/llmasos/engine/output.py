"""A request in flight and its outputs: what each new token means for text, end and usage."""

from __future__ import annotations

import time
from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING

from llmasos.engine.detokenizer import Detokenizer, StopAutomaton
from llmasos.engine.request import Delta, FinishReason, Request, TokenLogprob, Usage
from llmasos.engine.sampling.state import SamplingState
from llmasos.engine.service import Emit

if TYPE_CHECKING:
    from llmasos.engine.detokenizer import TextDecoder
    from llmasos.engine.grammar import GrammarState
    from llmasos.engine.sequence import Sequence as CachedSequence


class Output:
    """One output of a request: how its tokens are chosen, its text, and whether it has ended."""

    __slots__ = (
        "active", "detokenizer", "error", "finish_reason", "grammar", "index", "limit", "logprobs", "sampling",
        "sequence", "stop", "text", "tokens",
    )  # fmt: skip

    def __init__(
        self,
        active: ActiveRequest,
        index: int,
        sampling: SamplingState,
        detokenizer: Detokenizer | None,
        grammar: GrammarState | None,
    ) -> None:
        self.active = active
        self.index = index
        self.sampling = sampling
        self.detokenizer = detokenizer
        self.grammar = grammar
        self.limit = active.limit - len(active.prompt_ids)
        """Most tokens of output."""
        self.sequence: CachedSequence | None = None
        """``None`` before the prompt is computed, for all outputs but the first."""
        self.tokens: list[int] = []
        """Tokens, text and log-probabilities that have not been emitted."""
        self.text = ""
        self.logprobs: list[TokenLogprob] = []
        self.finish_reason: FinishReason | None = None
        self.stop: str | int | None = None
        self.error: str | None = None

    def take(self, token: int, logprob: TokenLogprob | None = None) -> bool:
        """Add a token to the output.

        Returns:
            Whether the output has ended with it.
        """
        sampling = self.sampling
        self._append(token, logprob)
        if token in sampling.end_ids:
            self.finish("stop", token if token in sampling.parameters.stop_token_ids else None)
            return True
        detokenizer = self.detokenizer
        if detokenizer is not None:
            self.text += detokenizer.push(token)
            if detokenizer.stopped is not None:
                self.finish("stop", detokenizer.stopped)
                return True
        if sampling.position >= self.limit:
            self.finish("length")
            return True
        return False

    def take_prescribed_end(self, token: int, logprob: TokenLogprob | None = None) -> None:
        """End the output with a token that the model prescribes for its last place: the length limit ended it."""
        self._append(token, logprob)
        self.finish("length")

    def _append(self, token: int, logprob: TokenLogprob | None) -> None:
        self.tokens.append(token)
        if logprob is None:
            self.sampling.append(token)
        else:
            self.sampling.append(token, logprob.logprob)
            self.logprobs.append(logprob)

    def finish(self, reason: FinishReason, stop: str | int | None = None, error: str | None = None) -> None:
        """End the output; text that was held back comes out unless it is a stop text."""
        self.finish_reason = reason
        self.stop = stop
        self.error = error
        if self.detokenizer is not None:
            self.text += self.detokenizer.finish()

    def delta(self) -> Delta:
        """All that is new since the last call."""
        active = self.active
        delta = Delta(active.request_id, self.index, self.text, self.tokens)
        if active.wants_logprobs:
            delta.logprobs = self.logprobs
            self.logprobs = []
        if self.finish_reason is not None:
            delta.finish_reason, delta.stop, delta.error = self.finish_reason, self.stop, self.error
        self.text = ""
        self.tokens = []
        return delta


class ActiveRequest:
    """A request between its submission and its last delta. Deltas go out through :attr:`emit`."""

    __slots__ = (
        "accepted", "arrival", "deadline", "emit", "first_scheduled", "first_token", "forced", "forked", "limit",
        "namespace", "outputs", "prompt_ids", "prompt_logprobs", "proposed", "request", "request_id", "streams",
        "truncated", "unfinished", "wants_logprobs",
    )  # fmt: skip

    def __init__(
        self,
        request: Request,
        request_id: str,
        prompt_ids: list[int],
        *,
        limit: int,
        truncated: int = 0,
        decoder: TextDecoder | None = None,
        eos_ids: Collection[int] = (),
        grammars: Iterable[GrammarState] | None = None,
        output_prefix: Sequence[int] | None = None,
        emit: Emit,
    ) -> None:
        """Args:
        request: checked.
        request_id: what the deltas carry.
        prompt_ids: what is left of the prompt after truncation.
        limit: most tokens of prompt and one output together.
        truncated: tokens of the prompt that were cut off.
        decoder: of the tokenizer; without one there is no text.
        eos_ids: end tokens of the model.
        grammars: a state for each output, if the request has a grammar.
        output_prefix: tokens before the output where it is not the prompt's continuation (the decoder's start token).
        emit: takes the deltas, on the thread that computes.
        """
        before = prompt_ids if output_prefix is None else output_prefix
        parameters = request.sampling
        self.request = request
        self.request_id = request_id
        self.prompt_ids = prompt_ids
        self.limit = limit
        self.truncated = truncated
        self.emit = emit
        self.arrival = time.monotonic()
        self.deadline = request.deadline
        self.first_scheduled: float | None = None
        self.first_token: float | None = None
        self.proposed = self.accepted = self.forced = 0
        self.forked = False
        """Whether the prompt is computed and every output has its own sequence."""
        self.namespace = _namespace(request)
        self.wants_logprobs = parameters.logprobs is not None
        self.prompt_logprobs: list[TokenLogprob | None] | None = None
        if parameters.prompt_logprobs is not None:
            self.prompt_logprobs = [None] * min(parameters.prompt_logprobs_from, len(prompt_ids))
        stops = StopAutomaton(parameters.stop) if parameters.stop and decoder is not None else ()
        skip = parameters.skip_special_tokens
        states = None if grammars is None else iter(grammars)
        self.outputs: list[Output] = []
        for index in range(parameters.choices):
            sampling = SamplingState(parameters, before, eos_ids=eos_ids, choice=index)
            text = None
            if decoder is not None:
                context = prompt_ids if output_prefix is None else ()
                text = Detokenizer(decoder, stops=stops, skip_special_tokens=skip, context=context)
            grammar = None if states is None else next(states)
            self.outputs.append(Output(self, index, sampling, text, grammar))
        self.unfinished = len(self.outputs)
        self.streams = parameters.choices == parameters.n
        """Whether deltas go out as they come; not before it is known which outputs are the best."""
        if parameters.echo and decoder is not None:
            stream = decoder.stream(skip_special_tokens=skip)
            prompt_text = "".join(map(stream.push, prompt_ids))
            for output in self.outputs:
                output.text = prompt_text

    def publish(self, output: Output) -> None:
        """Send what is new of an output; call it after each pass that gave it tokens, and when it has ended."""
        ended = output.finish_reason is not None
        if ended:
            self.unfinished -= 1
        if self.streams:
            self._send(output, last=ended and not self.unfinished)
        elif not self.unfinished:
            best = sorted(self.outputs, key=lambda each: -each.sampling.mean_logprob)[: self.request.sampling.n]
            for index, each in enumerate(best):
                each.index = index
                self._send(each, last=index == len(best) - 1)

    def _send(self, output: Output, *, last: bool) -> None:
        delta = output.delta()
        if self.prompt_logprobs is not None and output.index == 0:
            delta.prompt_logprobs, self.prompt_logprobs = self.prompt_logprobs, None
        if last:
            delta.usage = self.usage()
        self.emit(delta)

    @property
    def cached(self) -> int:
        """Tokens of the prompt that were found in the cache."""
        first = self.outputs[0].sequence
        return 0 if first is None else first.cached

    def dismiss(self) -> None:
        """Cut the references in circles, so that memory does not wait for the garbage collector."""
        for output in self.outputs:
            if output.sequence is not None:
                del output.sequence.output
        self.outputs = []

    def usage(self) -> Usage:
        """What the request has taken so far."""
        now = time.monotonic()
        sequences = [output.sequence for output in self.outputs if output.sequence is not None]
        return Usage(
            prompt_tokens=len(self.prompt_ids),
            completion_tokens=sum(output.sampling.position for output in self.outputs),
            cached_tokens=self.cached,
            truncated_tokens=self.truncated,
            preemptions=sum(sequence.preemptions for sequence in sequences),
            speculative_proposed=self.proposed,
            speculative_accepted=self.accepted,
            forced_tokens=self.forced,
            queue_seconds=(self.first_scheduled or now) - self.arrival,
            first_token_seconds=None if self.first_token is None else self.first_token - self.arrival,
            total_seconds=now - self.arrival,
        )


def _namespace(request: Request) -> Hashable:
    """What besides the tokens decides keys and values: requests of different namespaces share no prefix."""
    if request.steering is None:
        return request.adapter
    try:
        hash(request.steering)
    except TypeError:
        return (request.adapter, object())  # shared among the outputs of this request only
    return (request.adapter, request.steering)
