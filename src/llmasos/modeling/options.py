"""Options of the verbs: strict names, strict values, all problems in one message."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self, TypedDict

from llmasos.errors import InvalidRequest, did_you_mean
from llmasos.i18n import t

Truncation = Literal["start", "end"]
"""Which end of a prompt that does not fit is cut off."""

LOGPROBS_LIMIT = 100
"""Most alternatives that one position may report."""


class GenerateOptions(TypedDict, total=False):
    """The keywords that generate, chat and stream take, for type checkers and editors."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    logit_bias: Mapping[int, float]
    seed: int
    max_tokens: int
    min_tokens: int
    stop: str | Iterable[str]
    stop_token_ids: int | Iterable[int]
    ignore_eos: bool
    logprobs: int
    skip_special_tokens: bool
    num_beams: int
    length_penalty: float
    early_stopping: bool | Literal["never"]
    no_repeat_ngram_size: int
    source_language: str
    target_language: str
    truncate: Truncation


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How the next token is chosen and when the output ends. The default of every field switches its rule off."""

    temperature: float = 0.0
    """0 takes the likeliest token always (greedy)."""
    top_k: int = 0
    """Keep the ``k`` likeliest tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the likeliest tokens that together reach this probability."""
    min_p: float = 0.0
    """Keep tokens at least this fraction as likely as the likeliest."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens in the prompt or the output (CTRL)."""
    presence_penalty: float = 0.0
    """Taken off the logit of every token that is in the output."""
    frequency_penalty: float = 0.0
    """Taken off the logit of a token for each time that it is in the output."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits of these token ids; ``-inf`` forbids a token."""
    seed: int | None = None
    """The same seed gives the same output; ``None`` draws a new one for each request."""
    max_tokens: int | None = None
    """Most tokens of output; ``None``: what the model's configuration says, else 512."""
    min_tokens: int = 0
    """Before this many tokens of output no end token is chosen and no stop text counts."""
    stop: tuple[str, ...] = ()
    """Texts that end the output; they are not part of it."""
    stop_token_ids: tuple[int, ...] = ()
    """Token ids that end the output, beside the model's own end tokens."""
    ignore_eos: bool = False
    """Go on after the model's own end tokens, which become tokens like others."""
    logprobs: int | None = None
    """Alternatives reported with each token's log-probability; 0 reports the token's own alone."""
    skip_special_tokens: bool = True
    """Leave special tokens out of the text (never out of the token ids)."""

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0

    def updated(self, options: Mapping[str, object]) -> Self:
        """These options with the caller's on top; ``None`` as a value keeps the default.

        Asking for ``top_k``, ``top_p`` or ``min_p`` asks for sampling: if the model's default is greedy and no
        temperature is given, the temperature becomes 1.

        Raises:
            InvalidRequest: an option is unknown (with the nearest names) or a value is not allowed; all at once.
        """
        allowed = [item.name for item in fields(self)]
        given = {name: value for name, value in options.items() if value is not None}
        lines = [_unknown_option(name, allowed) for name in options if name not in allowed]
        values: dict[str, Any] = {}
        for name, value in given.items():
            if name in allowed:
                try:
                    values[name] = _RULES[name](value)
                except _NotAllowedError as problem:
                    lines.append(
                        t("{name} = {value}: allowed is {allowed}", name=name, value=repr(value), allowed=problem)
                    )
        if not lines:
            sampling_asked = any(name in values for name in ("top_k", "top_p", "min_p"))
            if sampling_asked and "temperature" not in values and self.greedy:
                values["temperature"] = 1.0
            result = replace(self, **values)
            lines = result.contradictions(values)
            if not lines:
                return result
        raise InvalidRequest(
            t("the request has {count} problem(s):", count=len(lines)) + "\n  " + "\n  ".join(lines),
            hint=t("Options here: {names}.", names=", ".join([*allowed, "truncate"])),
        )

    def contradictions(self, given: Mapping[str, object]) -> list[str]:
        """Options that exclude each other, one line each. ``given`` are those that the caller set."""
        lines = []
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            lines.append(
                t("min_tokens = {low} is above max_tokens = {high}", low=self.min_tokens, high=self.max_tokens)
            )
        return lines


@dataclass(frozen=True, slots=True)
class Seq2SeqOptions(SamplingOptions):
    """What encoder-decoder models take beside :class:`SamplingOptions`: beam search and languages."""

    num_beams: int = 1
    """Hypotheses that beam search keeps; 1 switches it off."""
    length_penalty: float = 1.0
    """Exponent of the length by which a beam's score is divided: above 0 favours long output, below 0 short."""
    early_stopping: bool | Literal["never"] = False
    """End beam search as soon as there are ``num_beams`` finished hypotheses; ``"never"`` goes on until none better
    is possible, ``False`` until one is unlikely."""
    no_repeat_ngram_size: int = 0
    """Forbid a sequence of this many tokens to occur twice in the output; 0 allows all."""
    source_language: str | None = None
    """Language of the input, for multilingual translation models."""
    target_language: str | None = None
    """Language of the output, for multilingual translation models."""

    def updated(self, options: Mapping[str, object]) -> Self:
        """See :meth:`SamplingOptions.updated`. Asking for sampling alone switches the model's beam search off."""
        asks_sampling = any(options.get(name) is not None for name in ("top_k", "top_p", "min_p")) or bool(
            options.get("temperature")
        )
        if asks_sampling and options.get("num_beams") is None:
            options = {**options, "num_beams": 1}
        return super(Seq2SeqOptions, self).updated(options)

    def contradictions(self, given: Mapping[str, object]) -> list[str]:
        lines = super(Seq2SeqOptions, self).contradictions(given)
        if self.num_beams == 1:
            lines += [
                t("{name} is for beam search: it needs num_beams above 1", name=name)
                for name in ("length_penalty", "early_stopping")
                if name in given
            ]
            return lines
        if not self.greedy:
            lines.append(
                t("temperature = {value} and num_beams = {beams} exclude each other: sample or search beams",
                  value=self.temperature, beams=self.num_beams)
            )  # fmt: skip
        blocked = [
            name for name in ("logprobs", "presence_penalty", "frequency_penalty", "logit_bias", "stop_token_ids",
                              "ignore_eos")
            if name in given
        ]  # fmt: skip
        lines += [t("{name} does not go with beam search: set num_beams = 1", name=name) for name in blocked]
        return lines


def refuse_unknown(options: Mapping[str, object], allowed: Iterable[str]) -> None:
    """Raise InvalidRequest if there is any option, naming the nearest of the allowed ones."""
    if options:
        names = list(allowed)
        raise InvalidRequest(
            "\n".join(_unknown_option(name, names) for name in options),
            hint=t("Options here: {names}.", names=", ".join(names)),
        )


def check_truncate(value: object) -> Truncation | None:
    """The value of ``truncate``, checked.

    Raises:
        InvalidRequest: it is neither ``None`` nor ``start`` nor ``end``.
    """
    if value in (None, "start", "end"):
        return value
    raise InvalidRequest(
        t("{name} = {value}: allowed is {allowed}", name="truncate", value=repr(value), allowed="start, end"),
        hint=t("`start` drops the oldest part of a prompt that does not fit, `end` the newest."),
    )


def _unknown_option(name: str, allowed: list[str]) -> str:
    near = did_you_mean(name, [*allowed, "truncate"])
    return t("unknown option {name}", name=name) + (f" ({near})" if near else "")


class _NotAllowedError(ValueError):
    """A value is not allowed; the text says what is."""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _number(
    low: float, high: float, *, above: bool = False
) -> Callable[[object], float]:  # ``above``: ``low`` itself is not allowed
    def check(value: object) -> float:
        good = _is_number(value) and math.isfinite(value) and low <= value <= high  # type: ignore[operator,arg-type]
        if not good or (above and value == low):
            if high == math.inf:
                raise _NotAllowedError(
                    t("a number above {low}", low=low) if above else t("a number from {low} up", low=low)
                )
            if above:
                raise _NotAllowedError(t("a number above {low}, up to {high}", low=low, high=high))
            raise _NotAllowedError(t("a number from {low} to {high}", low=low, high=high))
        return float(value)  # type: ignore[arg-type]

    return check


def _whole(low: int, high: float = math.inf) -> Callable[[object], int]:
    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise _NotAllowedError(
                t("a whole number from {low}", low=low)
                if high == math.inf
                else t("a whole number from {low} to {high}", low=low, high=int(high))
            )
        return value

    return check


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise _NotAllowedError(t("true or false"))
    return value


def _word(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise _NotAllowedError(t("a text of at least one character"))
    return value


def _texts(value: object) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else (value,)
    if not all(isinstance(text, str) and text for text in texts):
        raise _NotAllowedError(t("a text of at least one character, or a list of such texts"))
    return texts


def _token_ids(value: object) -> tuple[int, ...]:
    ids = tuple(value) if isinstance(value, Iterable) else (value,)
    if not all(isinstance(item, int) and not isinstance(item, bool) and item >= 0 for item in ids):
        raise _NotAllowedError(t("a token id, or a list of token ids"))
    return ids


def _bias(value: object) -> dict[int, float]:
    problem = _NotAllowedError(t("a mapping of token ids to finite numbers or -inf"))
    if not isinstance(value, Mapping):
        raise problem
    result: dict[int, float] = {}
    for token, amount in value.items():
        if isinstance(token, str) and token.isdecimal():  # JSON has no whole-number keys
            token = int(token)
        if not isinstance(token, int) or isinstance(token, bool) or token < 0:
            raise problem
        if not _is_number(amount) or amount == math.inf:
            raise problem
        result[token] = float(amount)
    return result


_RULES: dict[str, Callable[[object], object]] = {
    "temperature": _number(0, math.inf),
    "top_k": _whole(0),
    "top_p": _number(0, 1, above=True),
    "min_p": _number(0, 1),
    "repetition_penalty": _number(0, math.inf, above=True),
    "presence_penalty": _number(-2, 2),
    "frequency_penalty": _number(-2, 2),
    "logit_bias": _bias,
    "seed": _whole(0, 2**63 - 1),
    "max_tokens": _whole(1),
    "min_tokens": _whole(0),
    "stop": _texts,
    "stop_token_ids": _token_ids,
    "ignore_eos": _flag,
    "logprobs": _whole(0, LOGPROBS_LIMIT),
    "skip_special_tokens": _flag,
    "num_beams": _whole(1, 64),
    "length_penalty": _number(-10, 10),
    "early_stopping": lambda value: value if value == "never" else _flag(value),
    "no_repeat_ngram_size": _whole(0),
    "source_language": _word,
    "target_language": _word,
}
