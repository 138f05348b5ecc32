"""What a task asks of a model, and what comes back. Every backend speaks this; which calls it can do, it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from llmasos.modeling.messages import Message

Ability = Literal["loglikelihood", "perplexity", "generate", "classify"]


@dataclass(frozen=True, slots=True)
class PromptInput:
    """A prompt before the tokenizer or the chat template of a model has seen it."""

    text: str = ""
    """The prompt as plain text; empty for a conversation."""
    messages: tuple[Message, ...] | None = None
    """The conversation, for models with a chat template."""
    answer_prefix: str = ""
    """Beginning of the answer, for a conversation; in a plain text it is part of the text."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Further variables of the chat template."""
    wishes: Mapping[str, Any] = field(default_factory=dict)
    """Variables that are set where the template knows them and ``variables`` does not have them."""


@dataclass(frozen=True, slots=True)
class Continue:
    """How likely is this text after the prompt?"""

    prompt: PromptInput
    continuation: str


@dataclass(frozen=True, slots=True)
class Predict:
    """How likely is this whole text, read in windows?"""

    text: str
    window: int | None = None
    """Tokens that the model sees at once."""


@dataclass(frozen=True, slots=True)
class Write:
    """Answer the prompt."""

    prompt: PromptInput
    max_tokens: int
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    samples: int = 1
    seed: int = 0
    source: str | None = None
    """What encoder-decoder models read instead of the prompt."""
    source_language: str | None = None
    target_language: str | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """Which class does the text have?"""

    text: str
    pair: str | None = None


Call: TypeAlias = Continue | Predict | Write | Label


@dataclass(frozen=True, slots=True)
class Written:
    """One answer."""

    text: str
    finish_reason: str
    """``stop`` or ``length``, as engines say it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a call. Fields that do not belong to the kind of the call keep their defaults."""

    prompt: str
    """As sent."""
    prompt_tokens: int = 0
    logprob: float | None = None
    """Sum over the tokens of the continuation or text; natural logarithm."""
    tokens: int = 0
    """Tokens of the continuation or text."""
    greedy: bool = False
    """Whether the likeliest tokens are those of the continuation."""
    outputs: tuple[Written, ...] = ()
    scores: Mapping[str, float] | None = None
    """Probability of every class by its name."""
    truncated_tokens: int = 0
    """Tokens of the prompt that were left out because they did not fit."""
    error: str | None = None
    """Why there is no answer; everything else is empty then."""
    seconds: float | None = None


class Backend(Protocol):
    """Answers calls."""

    @property
    def reference(self) -> str:
        """What people call the model."""

    @property
    def digest(self) -> str | None:
        """Digest of the version in the library; ``None``: it is not from there."""

    @property
    def abilities(self) -> frozenset[Ability]:
        """The calls that it can do."""

    @property
    def has_chat_template(self) -> bool | None:
        """Whether conversations are possible; ``None``: the endpoint knows."""

    @property
    def labels(self) -> Sequence[str] | None:
        """Names of a classifier's classes; ``None`` for other models."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What decides scores beside model and task: number format, device, the limit of the context."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the scores must know."""

    def show(self, prompt: PromptInput) -> str:
        """The prompt as it will be sent."""

    def run(self, calls: Sequence[Call]) -> Iterator[tuple[int, Answer]]:
        """Answer all calls together; yields the place of a call and its answer, in any order.

        A call that cannot be answered gives an :class:`Answer` with ``error``; what ends everything is raised.
        """

    def close(self) -> None:
        """Free what was opened."""
