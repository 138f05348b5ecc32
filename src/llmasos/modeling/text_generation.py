"""From texts and conversations to outputs: fits prompts to the context, runs the backend, keeps the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmasos.errors import ContextLengthExceeded, InvalidRequest
from llmasos.i18n import t
from llmasos.modeling.backend import GenerationBackend, GenerationRequest
from llmasos.modeling.chat_template import ChatTemplate
from llmasos.modeling.messages import Message, without_oldest_turn
from llmasos.modeling.options import SamplingOptions, Truncation
from llmasos.modeling.results import Delta, Generation, Timings, TokenLogprob, Usage
from llmasos.modeling.tokenizer import Encoded, Tokenizer

DEFAULT_MAX_TOKENS = 512
"""Output length when neither the caller nor the model's configuration names one."""


@dataclass(frozen=True, slots=True)
class TokenPrompt:
    """A prompt as token ids, and how many were cut off to make it fit."""

    ids: list[int]
    truncated: int = 0


@dataclass(frozen=True)
class PromptFitter:
    """Turns texts and conversations into prompts that fit.

    Attributes:
        limit: longest prompt in tokens, or prompt and output together if ``shared``; ``None``: no limit.
        shared: whether the output takes its place in the same context (decoder-only models).
        output_limit: longest output in tokens, where the model's decoder has its own limit.
    """

    tokenizer: Tokenizer
    limit: int | None
    shared: bool
    output_limit: int | None = None

    def text(
        self,
        text: object,
        truncate: Truncation | None,
        max_tokens: int | None,
        mark: Callable[[Encoded], Encoded] | None = None,
    ) -> TokenPrompt:
        """Encode a text. ``mark`` changes its tokens without changing their number (languages).

        Raises:
            InvalidRequest: not a text, or one without any token.
            ContextLengthExceeded: it does not fit, and ``truncate`` is not given.
        """
        if not isinstance(text, str):
            raise InvalidRequest(
                t("{name} = {value}: allowed is {allowed}", name="prompt", value=repr(text)[:80], allowed=t("a text")),
                hint=t("Pass a text, or a list of texts."),
            )
        mark = mark or (lambda encoded: encoded)
        encoded = mark(self.tokenizer.encode(text))
        if not encoded.ids:
            raise InvalidRequest(
                t("the prompt is empty: at least one token is needed"), hint=t("Pass a text of at least one word.")
            )
        room = self.room(max_tokens)
        if room is None or len(encoded.ids) <= room:
            return TokenPrompt(encoded.ids)
        if truncate is None or room < 1:
            raise self.too_long(len(encoded.ids), room, max_tokens)
        cut = mark(self.tokenizer.encode(text, limit=room, truncate=truncate))
        return TokenPrompt(cut.ids, cut.truncated)

    def conversation(
        self,
        template: ChatTemplate,
        messages: Sequence[Message],
        truncate: Truncation | None,
        max_tokens: int | None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> TokenPrompt:
        """Render and encode a conversation. ``truncate="start"`` drops the oldest messages, never the system's.

        Raises:
            InvalidRequest: see :meth:`ChatTemplate.render`; or ``truncate`` is ``end``.
            ContextLengthExceeded: it does not fit, and ``truncate`` is not given or does not help.
        """
        if truncate == "end":
            raise InvalidRequest(
                t("{name} = {value}: allowed is {allowed}", name="truncate", value="'end'", allowed="start"),
                hint=t("Cutting the end of a conversation would drop the question itself."),
            )
        room = self.room(max_tokens)
        remaining = list(messages)
        first_length: int | None = None
        while True:
            prompt = template.render(remaining, tools=tools, variables=variables)
            ids = self.tokenizer.encode_prompt(prompt)
            first_length = len(ids) if first_length is None else first_length
            if room is None or len(ids) <= room:
                return TokenPrompt(ids, first_length - len(ids))
            shorter = without_oldest_turn(remaining)
            if truncate is None or shorter is None:
                raise self.too_long(len(ids), room, max_tokens)
            remaining = shorter

    def room(self, max_tokens: int | None) -> int | None:
        """Tokens that a prompt may have so that the output asked for fits too."""
        if self.limit is None:
            return None
        return self.limit - (max_tokens or 1) if self.shared else self.limit

    def output_tokens(self, prompt_tokens: int, asked: int | None, default: int | None) -> int:
        """Most tokens of output for a prompt: what was asked for, else the default as far as there is room.

        Raises:
            ContextLengthExceeded: more was asked for than the model's decoder can produce.
        """
        limits = [self.limit - prompt_tokens] if self.shared and self.limit is not None else []
        limits += [self.output_limit] if self.output_limit is not None else []
        if asked is None:
            return min([default or DEFAULT_MAX_TOKENS, *limits])
        if limits and asked > min(limits):
            raise ContextLengthExceeded(
                t("max_tokens = {asked} is more than the model can write here: {limit}",
                  asked=asked, limit=min(limits)),
                hint=t("Ask for fewer tokens, or leave max_tokens out."),
            )  # fmt: skip
        return asked

    def too_long(self, length: int, room: int, max_tokens: int | None) -> ContextLengthExceeded:
        """The error for a prompt that does not fit."""
        hint = t('Shorten the prompt, or pass truncate="start" (drop the oldest part) or "end" (the newest).')
        if self.shared and max_tokens is not None:
            return ContextLengthExceeded(
                t("the prompt has {length} tokens and max_tokens is {asked}; the model's context holds {limit}",
                  length=length, asked=max_tokens, limit=self.limit),
                hint=hint,
            )  # fmt: skip
        return ContextLengthExceeded(
            t("the prompt has {length} tokens; there is room for {room}", length=length, room=room), hint=hint
        )


class TextGenerator:
    """Runs prompts through a backend and reports usage and timings."""

    def __init__(
        self,
        backend: GenerationBackend,
        fitter: PromptFitter,
        defaults: SamplingOptions,
        default_max_tokens: int | None = None,
    ) -> None:
        self.backend = backend
        self.fitter = fitter
        self.defaults = defaults
        self._default_max_tokens = default_max_tokens

    def stream(self, prompts: Sequence[TokenPrompt], options: SamplingOptions, started: float) -> Iterator[Delta]:
        """Deltas of all prompts as they come; the last of each carries usage and timings.

        Args:
            prompts: fitted prompts.
            options: how to sample, for all of them.
            started: moment of the call, of ``time.perf_counter()``.

        Raises:
            ContextLengthExceeded: more output is asked for than the model can write.
        """
        requests = [
            GenerationRequest(
                prompt.ids,
                options,
                self.fitter.output_tokens(len(prompt.ids), options.max_tokens, self._default_max_tokens),
            )
            for prompt in prompts
        ]
        return self._run(prompts, requests, started)

    def _run(
        self, prompts: Sequence[TokenPrompt], requests: Sequence[GenerationRequest], started: float
    ) -> Iterator[Delta]:
        counts = [0] * len(prompts)
        first: list[float | None] = [None] * len(prompts)
        deltas = self.backend.generate(requests)
        try:
            for delta in deltas:
                now = time.perf_counter() - started
                index = delta.index
                counts[index] += len(delta.token_ids)
                if first[index] is None and delta.token_ids:
                    first[index] = now
                if delta.finish_reason is not None:
                    prompt = prompts[index]
                    delta.usage = Usage(len(prompt.ids), counts[index], prompt.truncated)
                    delta.timings = _timings(first[index], now, counts[index])
                yield delta
        finally:
            close = getattr(deltas, "close", None)
            if close is not None:
                close()

    def complete(self, prompts: Sequence[TokenPrompt], options: SamplingOptions, started: float) -> list[Generation]:
        """The finished outputs, in the order of the prompts."""
        texts: list[list[str]] = [[] for _ in prompts]
        ids: list[list[int]] = [[] for _ in prompts]
        logprobs: list[list[TokenLogprob]] = [[] for _ in prompts]
        last: dict[int, Delta] = {}
        for delta in self.stream(prompts, options, started):
            texts[delta.index].append(delta.text)
            ids[delta.index] += delta.token_ids
            logprobs[delta.index] += delta.logprobs or []
            if delta.finish_reason is not None:
                last[delta.index] = delta
        return [
            _finished(last[index], "".join(texts[index]), ids[index], logprobs[index]) for index in range(len(prompts))
        ]


def _finished(last: Delta, text: str, ids: list[int], logprobs: list[TokenLogprob]) -> Generation:
    assert last.finish_reason is not None and last.usage is not None and last.timings is not None
    return Generation(text, ids, last.finish_reason, last.usage, last.timings, last.stop, logprobs or None)


def _timings(first: float | None, total: float, tokens: int) -> Timings:
    first = total if first is None else first
    if tokens > 1 and total > first:
        return Timings(first, total, (tokens - 1) / (total - first))
    return Timings(first, total, tokens / total if tokens and total > 0 else None)  # all came at once (beam search)
