"""What is kept of every sample of a run: the prompt as sent, the output, what was read in it, and the verdict."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import orjson


class Status(StrEnum):
    """The verdict on one sample. Only ``correct`` counts as right; what is not right says why."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSED = "unparsed"
    """No answer could be read in the output."""
    TRUNCATED = "truncated"
    """The output reached its token limit before there was an answer."""
    ERROR = "error"
    """The sample could not be run or judged; :attr:`Record.error` says why."""
    SCORED = "scored"
    """There is no right or wrong: a translation, a summary, a perplexity."""


@dataclass(frozen=True, slots=True)
class Record:
    """One sample of one task as one model answered it."""

    task: str
    index: int
    """Place in the task's data, from 0."""
    sample_id: str
    """Digest of the source row: the key by which the records of two models belong together."""
    prompt: str
    """As sent, chat template applied."""
    prompt_tokens: int
    """0 where an endpoint does not say."""
    output: str
    """What the model wrote; of a choice task the chosen text; empty for perplexity."""
    parsed: str | None
    """The answer read in the output; ``None``: none was found, or the task reads none."""
    references: tuple[str, ...]
    """What would be right."""
    target: int | None
    """Number of the right choice or class, from 0."""
    status: Status
    error: str | None = None
    choice_logprobs: tuple[float, ...] | None = None
    """Log-probability (natural logarithm) of every choice, or of every class of a classifier."""
    choice_lengths: tuple[tuple[int, int, int], ...] | None = None
    """(tokens, characters, bytes in UTF-8) of every choice."""
    loglikelihood: float | None = None
    """Perplexity: log-probability (natural logarithm) of the whole text."""
    token_count: int | None = None
    """Perplexity: tokens whose log-probability is in ``loglikelihood``; words and bytes of the text below."""
    word_count: int | None = None
    byte_count: int | None = None
    outputs: tuple[str, ...] = ()
    """All outputs where a prompt was answered more than once; ``output`` is the first of them."""
    passed: tuple[bool, ...] | None = None
    """Code: whether each of the outputs passed its tests."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What else is known, as JSON values: results of single instructions, tokens cut off the prompt, finish reasons."""
    latency_seconds: float | None = None
    """From submission to end. Requests of a batch share it, so it is no measure of one sample alone."""

    def as_json(self) -> dict[str, Any]:
        """The record as JSON values."""
        return {**asdict(self), "status": self.status.value}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Record:
        """The record that :meth:`as_json` wrote."""
        tuples = ("references", "outputs", "choice_logprobs", "passed")
        changed = {name: _tuple(value.get(name)) for name in tuples}
        lengths = value.get("choice_lengths")
        changed["choice_lengths"] = None if lengths is None else tuple(tuple(entry) for entry in lengths)
        for name in ("references", "outputs"):
            changed[name] = changed[name] or ()
        return cls(**{**value, **changed, "status": Status(value["status"]), "details": value.get("details") or {}})


def _tuple(value: Iterable[Any] | None) -> tuple[Any, ...] | None:
    return None if value is None else tuple(value)


def sample_id(row: Mapping[str, Any]) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a row as JSON with sorted keys."""
    text = orjson.dumps(dict(row), option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str)
    return hashlib.sha256(text).hexdigest()[:16]
