"""From logits to what people read: probability, rank, entropy, and the likeliest tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from llmasos.engine.text_decoder import TextDecoder


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that could stand at a place."""

    token_id: int
    text: str
    logprob: float
    """Natural logarithm."""

    @property
    def probability(self) -> float:
        """Between 0 and 1."""
        return math.exp(self.logprob)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model expected at a place.

    Attributes:
        entropy: of the whole distribution, in bits: 0 if one token was certain, one more each time the choice doubles.
        candidates: the likeliest tokens, best first.
        logprob, rank: of the token that is there; rank 1 is the likeliest. ``None`` where the text has ended.
    """

    entropy: float
    candidates: tuple[Candidate, ...]
    logprob: float | None = None
    rank: int | None = None

    @property
    def probability(self) -> float | None:
        """Of the token that is there."""
        return None if self.logprob is None else math.exp(self.logprob)


def predictions(
    logits: torch.Tensor, actual: Sequence[int | None], top: int, text_of: Callable[[int], str]
) -> list[Prediction]:
    """What each row of logits says.

    Args:
        logits: (rows, vocabulary) float32.
        actual: the token that is there, for each row.
        top: candidates of each.
        text_of: a token as it is shown.
    """
    import torch

    logprobs = logits.log_softmax(-1)
    probabilities = logprobs.exp()
    # 0 log 0 is 0: a token that a model rules out adds nothing.
    entropies = -(probabilities * logprobs.clamp(min=-1e9)).sum(-1) / math.log(2)
    best = logprobs.topk(min(top, logits.shape[1]), -1)
    found = []
    for row, token in enumerate(actual):
        candidates = tuple(
            Candidate(number, text_of(number), value)
            for number, value in zip(best.indices[row].tolist(), best.values[row].tolist(), strict=True)
        )
        logprob = rank = None
        if token is not None:
            own = logprobs[row, token]
            logprob, rank = float(own), int(torch.count_nonzero(logprobs[row] > own)) + 1
        found.append(Prediction(max(float(entropies[row]), 0.0), candidates, logprob, rank))
    return found


def shown_text(decoder: TextDecoder | None, decode: Callable[[list[int]], str]) -> Callable[[int], str]:
    """How tokens are shown: their texts, and the bytes of those that are no whole characters."""

    def text_of(token: int) -> str:
        raw = decoder.bytes_of(token) if decoder is not None else None
        if raw is None:
            return decode([token])
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return "".join(f"<{byte:02X}>" for byte in raw)

    return text_of
