"""What a caller asks of the engine and what comes back: requests, deltas of text and tokens, usage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from llmasos.engine.task import Generate, Task
from llmasos.errors import InvalidRequest
from llmasos.i18n import t

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FinishReason = Literal["stop", "length", "cancelled", "deadline", "error"]
"""Why a sequence ended: a stop text or id, or an encoder that is done (``stop``), a token limit (``length``), the
caller (``cancelled``), its deadline (``deadline``), or a fault that :attr:`Delta.error` describes (``error``)."""

GrammarKind = Literal["json_schema", "json", "regex", "lark", "choice"]
GRAMMAR_KINDS: tuple[str, ...] = ("json_schema", "json", "regex", "lark", "choice")

LOGPROBS_LIMIT = 1000
"""Most alternatives that one position may report."""
MAXIMUM_CHOICES = 128
"""Largest ``n`` and ``best_of``."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """A constraint on the output. ``source`` is the schema (mapping or JSON text), pattern, grammar or choices."""

    kind: GrammarKind
    source: str | Mapping[str, object] | tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class SamplingParameters:
    """How the next token is chosen and when the output ends. Neutral values switch a rule off."""

    temperature: float = 1.0
    """0 is greedy."""
    top_k: int = 0
    """Keep the ``k`` likeliest tokens; 0 keeps all."""
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens in the prompt or the output (CTRL)."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    """The same seed gives the same output, whatever else is in the batch; ``None`` draws one."""
    max_tokens: int | None = None
    """Most tokens of output; ``None``: up to the context length. 0 only with ``prompt_logprobs`` or ``echo``."""
    min_tokens: int = 0
    """End tokens and stop ids are impossible before this many tokens of output."""
    stop: tuple[str, ...] = ()
    """Texts that end the output; not part of it."""
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    n: int = 1
    """Outputs returned."""
    best_of: int | None = None
    """Outputs made, of which the ``n`` with the highest mean log-probability are returned."""
    logprobs: int | None = None
    """Alternatives reported with each token's log-probability; 0 reports the token's own alone."""
    prompt_logprobs: int | None = None
    """The same for the tokens of the prompt (the first has none)."""
    prompt_logprobs_from: int = 1
    """First position of the prompt that ``prompt_logprobs`` reports; earlier ones are ``None``. What lies before it can
    come from the prefix cache: many continuations of one context cost the context once."""
    echo: bool = False
    """Put the prompt's text before the output."""
    skip_special_tokens: bool = True
    """Leave special tokens out of the text (never out of the token ids)."""

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0.0

    @property
    def choices(self) -> int:
        """Sequences that are decoded for the request."""
        return self.best_of or self.n

    def problems(self, vocabulary_size: int | None = None) -> list[str]:
        """Everything that is not allowed, one line each; empty if all is well."""
        lines: list[str] = []

        def number(name: str, low: float, high: float, allowed: str, *, open_low: bool = False) -> None:
            value = getattr(self, name)
            good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not good or value > high or value < low or (open_low and value == low):
                lines.append(t("{name} = {value}: allowed is {allowed}", name=name, value=repr(value), allowed=allowed))

        def whole(name: str, low: int, high: float = math.inf, *, optional: bool = False) -> None:
            value = getattr(self, name)
            if optional and value is None:
                return
            if not isinstance(value, int) or isinstance(value, bool) or value < low or value > high:
                allowed = (
                    t("a whole number from {low}", low=low)
                    if high == math.inf
                    else t("a whole number from {low} to {high}", low=low, high=high)
                )
                lines.append(t("{name} = {value}: allowed is {allowed}", name=name, value=repr(value), allowed=allowed))

        number("temperature", 0, math.inf, t("a number from 0 (greedy)"))
        whole("top_k", 0)
        number("top_p", 0, 1, t("a number above 0, up to 1"), open_low=True)
        number("min_p", 0, 1, t("a number from 0 to 1"))
        number("typical_p", 0, 1, t("a number above 0, up to 1"), open_low=True)
        number("repetition_penalty", 0, math.inf, t("a number above 0"), open_low=True)
        number("presence_penalty", -2, 2, t("a number from -2 to 2"))
        number("frequency_penalty", -2, 2, t("a number from -2 to 2"))
        whole("seed", -(2**63), 2**64 - 1, optional=True)
        # Nothing but the prompt's own log-probabilities may be wanted.
        whole("max_tokens", 0 if self.echo or self.prompt_logprobs is not None else 1, optional=True)
        whole("min_tokens", 0)
        whole("n", 1, MAXIMUM_CHOICES)
        whole("best_of", 1, MAXIMUM_CHOICES, optional=True)
        whole("logprobs", 0, LOGPROBS_LIMIT, optional=True)
        whole("prompt_logprobs", 0, LOGPROBS_LIMIT, optional=True)
        whole("prompt_logprobs_from", 1)
        if not lines:
            if self.best_of is not None and self.best_of < self.n:
                lines.append(t("best_of = {best_of} is below n = {n}", best_of=self.best_of, n=self.n))
            if self.max_tokens is not None and self.min_tokens > self.max_tokens:
                lines.append(
                    t("min_tokens = {low} is above max_tokens = {high}", low=self.min_tokens, high=self.max_tokens)
                )
        lines.extend(
            t("stop[{index}] = {value}: allowed is a text of at least one character", index=index, value=repr(text))
            for index, text in enumerate(self.stop)
            if not isinstance(text, str) or not text
        )
        for name, ids in (("stop_token_ids", self.stop_token_ids), ("logit_bias", tuple(self.logit_bias))):
            lines.extend(_id_problems(name, ids, vocabulary_size))
        lines.extend(
            t("logit_bias[{token}] = {value}: allowed is a finite number or -inf", token=token, value=repr(value))
            for token, value in self.logit_bias.items()
            if not isinstance(value, int | float) or math.isnan(value) or value == math.inf
        )
        return lines


@dataclass(slots=True)
class Request:
    """One prompt and all that belongs to it. Times are of ``time.monotonic()``."""

    prompt_ids: Sequence[int]
    sampling: SamplingParameters = field(default_factory=SamplingParameters)
    """Of requests that generate; others leave it as it is."""
    task: Task = field(default_factory=Generate)
    """What is wanted of the prompt; a model does only what its kind can do."""
    adapter: str | None = None
    grammar: Grammar | None = None
    steering: object | None = None
    priority: int = 0
    """Higher goes first; waiting raises it slowly, so nobody waits for ever."""
    deadline: float | None = None
    """Moment after which the request ends with reason ``deadline`` and what it has."""
    truncate: Literal["left", "right"] | None = None
    """Which end of a prompt that does not fit is cut off; ``None`` refuses such a prompt."""
    reuse_prefix: bool = True
    """``False`` computes the whole prompt anew: readers of hidden states need every row to pass through the model."""
    request_id: str = ""
    """Chosen by the engine when empty."""

    def check(self, vocabulary_size: int | None = None) -> None:
        """Refuse what cannot be served, naming every problem at once.

        Raises:
            InvalidRequest: the prompt is empty or values are not allowed.
        """
        lines: list[str] = []
        if len(self.prompt_ids) == 0:
            lines.append(t("the prompt is empty: at least one token is needed"))
        lines.extend(_id_problems("prompt_ids", self.prompt_ids, vocabulary_size))
        lines.extend(self.sampling.problems(vocabulary_size))
        lines.extend(self.task.problems())
        if not isinstance(self.priority, int) or isinstance(self.priority, bool):
            lines.append(
                t("{name} = {value}: allowed is {allowed}", name="priority", value=repr(self.priority),
                  allowed=t("a whole number"))
            )  # fmt: skip
        if self.deadline is not None and not (isinstance(self.deadline, int | float) and math.isfinite(self.deadline)):
            lines.append(
                t("{name} = {value}: allowed is {allowed}", name="deadline", value=repr(self.deadline),
                  allowed=t("a moment of time.monotonic()"))
            )  # fmt: skip
        if self.truncate not in (None, "left", "right"):
            lines.append(
                t("{name} = {value}: allowed is {allowed}", name="truncate", value=repr(self.truncate),
                  allowed="left, right")
            )  # fmt: skip
        if self.grammar is not None and self.grammar.kind not in GRAMMAR_KINDS:
            lines.append(
                t("{name} = {value}: allowed is {allowed}", name="grammar.kind", value=repr(self.grammar.kind),
                  allowed=", ".join(GRAMMAR_KINDS))
            )  # fmt: skip
        if lines:
            raise InvalidRequest(
                t("the request has {count} problem(s):", count=len(lines)) + "\n  " + "\n  ".join(lines),
                hint=t("Correct the values and send the request again."),
            )


def _id_problems(name: str, ids: Sequence[int], vocabulary_size: int | None) -> list[str]:
    """The first few entries that are no token ids; a long prompt with one wrong table must not fill the screen."""
    if set(map(type, ids)) <= {int} and (
        not ids or (min(ids) >= 0 and (not vocabulary_size or max(ids) < vocabulary_size))
    ):
        return []  # a long prompt costs a loop in C
    bad: list[str] = []
    high = math.inf if vocabulary_size is None else vocabulary_size
    for index, token in enumerate(ids):
        if not isinstance(token, int) or isinstance(token, bool) or not 0 <= token < high:
            allowed = t("a token id from 0 to {last}", last=high - 1) if high != math.inf else t("a token id from 0")
            bad.append(
                t("{name}[{index}] = {value}: allowed is {allowed}", name=name, index=index, value=repr(token),
                  allowed=allowed)
            )  # fmt: skip
            if len(bad) == 3:
                break
    return bad


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Log-probability of a token and of the likeliest tokens at its position, best first."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """What a request took. Seconds are counted from its submission."""

    prompt_tokens: int
    """Tokens of the prompt that were used, after truncation."""
    completion_tokens: int
    """Tokens of all outputs of the request, also of those that ``best_of`` dropped."""
    cached_tokens: int = 0
    """Tokens of the prompt whose keys and values were in the cache."""
    truncated_tokens: int = 0
    preemptions: int = 0
    speculative_proposed: int = 0
    speculative_accepted: int = 0
    forced_tokens: int = 0
    """Tokens that the grammar left no choice about and that cost no pass of their own."""
    queue_seconds: float = 0.0
    first_token_seconds: float | None = None
    total_seconds: float = 0.0


@dataclass(slots=True)
class Delta:
    """News of one output of a request."""

    request_id: str
    index: int
    """Which of the ``n`` outputs."""
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] | None = None
    """One per entry of ``token_ids`` when asked for."""
    finish_reason: FinishReason | None = None
    stop: str | int | None = None
    """The stop text or token id that ended the output, if one did."""
    error: str | None = None
    """What went wrong, with ``finish_reason`` ``error``."""
    prompt_logprobs: list[TokenLogprob | None] | None = None
    """On the first delta of output 0, when asked for; the first entry is ``None``."""
    values: NDArray[np.float32] | None = None
    """What an encoder gives: the text's vector (embed), or the score of every label in the model's order (classify)."""
    usage: Usage | None = None
    """On the last delta of the last output."""
