"""What the verbs return."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FinishReason = Literal["stop", "length", "cancelled", "deadline", "error"]
"""Why an output ended: an end token or stop text (``stop``), a token limit (``length``), the caller (``cancelled``),
its deadline (``deadline``), or a fault (``error``)."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Log-probability (natural logarithm) of a token and of the likeliest tokens at its place, best first."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a request took."""

    prompt_tokens: int
    completion_tokens: int
    truncated_tokens: int = 0
    """Tokens of the prompt that ``truncate`` cut off."""

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds from the call on, and rates."""

    first_token_seconds: float
    total_seconds: float
    tokens_per_second: float | None
    """Rate of the tokens after the first; over all when they came at once; ``None`` without output."""


@dataclass(slots=True)
class Delta:
    """News of one output. The texts of all deltas of an output make up its whole text."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] | None = None
    """One per entry of ``token_ids`` when asked for."""
    finish_reason: FinishReason | None = None
    """Set on the last delta."""
    stop: str | int | None = None
    """The stop text or token id that ended the output, if one did."""
    index: int = 0
    """Which request of the batch this belongs to."""
    usage: Usage | None = None
    """Set on the last delta."""
    timings: Timings | None = None
    """Set on the last delta."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Generation:
    """A finished output; ``str(generation)`` is its text."""

    text: str
    token_ids: list[int]
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    stop: str | int | None = None
    logprobs: list[TokenLogprob] | None = None

    @property
    def message(self) -> dict[str, str]:
        """The output as a message to append to a conversation."""
        return {"role": "assistant", "content": self.text}

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Classification:
    """The label of a text. ``scores`` holds every label's, highest first."""

    label: str
    """The label with the highest score."""
    score: float
    scores: Mapping[str, float]
    """``softmax`` probabilities that sum to 1; for models with independent labels each label's own probability
    (``sigmoid``); for regression the raw value."""
    labels: tuple[str, ...]
    """The labels that hold: the best one; of independent labels, all with a probability of at least a half."""
    tokens: int
    """Tokens of the input that the model read."""
    truncated_tokens: int = 0

    def __str__(self) -> str:
        return self.label


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """A text as a vector. ``numpy.asarray(embedding)`` and ``list(embedding)`` both work."""

    vector: NDArray[np.float32]
    """(dimensions,) float32."""
    tokens: int
    """Tokens of the input that the model read."""
    truncated_tokens: int = 0

    def __len__(self) -> int:
        return len(self.vector)

    def __iter__(self) -> Iterator[float]:
        return iter(self.vector.tolist())

    def __getitem__(self, index: int) -> float:
        return float(self.vector[index])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        import numpy as np

        return np.array(self.vector, dtype=dtype, copy=copy)


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text cut into tokens."""

    ids: list[int]
    pieces: list[str]
    """The vocabulary entry of each id, as stored in the vocabulary."""
    offsets: list[tuple[int, int]] | None
    """Where each token lies in the text (characters, end exclusive); ``None`` if the tokenizer cannot say."""

    def __len__(self) -> int:
        return len(self.ids)
