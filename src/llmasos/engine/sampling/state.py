"""What the sampler remembers of one output of a request."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from llmasos.engine.request import SamplingParameters
from llmasos.engine.sampling.noise import stream_key, word_at
from llmasos.engine.sampling.penalties import TokenCounts

LARGEST_CANDIDATE_K = 1024
"""Above this ``top_k`` the row is handled alone: selecting that many candidates costs as much as a sort."""


class Method(IntEnum):
    """The cheapest exact way to draw with a request's parameters; rows with the same one are drawn together."""

    GREEDY = 0
    DENSE = 1
    """Temperature, with or without ``min_p``: over the whole vocabulary, without sorting."""
    NUCLEUS = 2
    """``top_p`` without ``top_k``: over the likeliest candidates, more of them where the mass is not reached."""
    CANDIDATES = 3
    """``top_k``, with or without other truncations: over ``k`` candidates."""
    TYPICAL = 4
    """``typical_p`` as the only truncation."""
    GENERAL = 5
    """Everything else, row by row."""


class SamplingState:
    """Compiled parameters, seed, position and token counts of one output.

    Call :meth:`append` for every token that becomes part of the output, sampled or forced.
    """

    __slots__ = (
        "_bias_ids", "_bias_values", "_end_array", "_key", "_penalised", "choice", "counts", "cumulative_logprob",
        "end_ids", "method", "parameters", "position", "seed", "wants_logprob",
    )  # fmt: skip

    def __init__(
        self,
        parameters: SamplingParameters,
        prompt_ids: Sequence[int] = (),
        *,
        eos_ids: Iterable[int] = (),
        choice: int = 0,
        seed: int | None = None,
    ) -> None:
        """Args:
        parameters: checked parameters of the request.
        prompt_ids: the prompt, for ``repetition_penalty``.
        eos_ids: end tokens of the model; ``ignore_eos`` drops them.
        choice: which of the ``n`` (or ``best_of``) outputs this is; each draws other numbers from the same seed.
        seed: used when the parameters have none (all outputs of a request should share it); ``None`` draws one.
        """
        self.parameters = parameters
        self.choice = choice
        chosen = parameters.seed if parameters.seed is not None else seed
        self.seed: int = chosen if chosen is not None else secrets.randbits(63)
        self._key = stream_key(self.seed, choice)
        self.position = 0
        """Tokens of output so far: the index of the next one."""
        self.cumulative_logprob = 0.0
        """Sum of the raw log-probabilities of the output, where they were computed."""
        own_ends = () if parameters.ignore_eos else tuple(eos_ids)
        self.end_ids: frozenset[int] = frozenset(own_ends) | frozenset(parameters.stop_token_ids)
        """Tokens that end the output."""
        self._end_array = np.array(sorted(self.end_ids), dtype=np.int64)
        self._penalised = bool(
            parameters.repetition_penalty != 1.0 or parameters.frequency_penalty or parameters.presence_penalty
        )
        self.counts = TokenCounts(prompt_ids) if self._penalised else None
        self._bias_ids = np.array(list(parameters.logit_bias), dtype=np.int64)
        self._bias_values = np.array(list(parameters.logit_bias.values()), dtype=np.float32)
        self.method = choose_method(parameters)
        self.wants_logprob = parameters.logprobs is not None or parameters.choices > parameters.n

    @property
    def edits(self) -> bool:
        """Whether the next row of logits is to be changed before the choice."""
        return bool(
            self._penalised
            or len(self._bias_ids)
            or (self.position < self.parameters.min_tokens and len(self._end_array))
        )

    @property
    def mean_logprob(self) -> float:
        """Mean raw log-probability of the output: what ``best_of`` ranks by; ``-inf`` of an empty output."""
        return self.cumulative_logprob / self.position if self.position else -np.inf

    def word(self, ahead: int = 0) -> int:
        """The random bits that decide the token ``ahead`` places after the next one."""
        return word_at(self._key, self.position + ahead)

    def edit(self, row: NDArray[np.float32], draft: Sequence[int] = ()) -> None:
        """Apply steps 2 to 4 of the package's order to ``row`` in place, as if ``draft`` had been appended."""
        if len(self._bias_ids):
            row[self._bias_ids] += self._bias_values
        if self.counts is not None:
            parameters = self.parameters
            mark = self.counts.mark()
            for token in draft:
                self.counts.append(token)
            self.counts.apply(
                row, parameters.repetition_penalty, parameters.frequency_penalty, parameters.presence_penalty
            )
            self.counts.undo(draft, mark)
        if self.position + len(draft) < self.parameters.min_tokens:
            row[self._end_array] = -np.inf

    def append(self, token: int, logprob: float | None = None) -> None:
        """Take ``token`` into the output."""
        self.position += 1
        if self.counts is not None:
            self.counts.append(token)
        if logprob is not None:
            self.cumulative_logprob += logprob


def choose_method(parameters: SamplingParameters) -> Method:
    """The cheapest method that is exact for these parameters."""
    if parameters.greedy:
        return Method.GREEDY
    if parameters.top_k > 0:
        return Method.CANDIDATES if parameters.top_k <= LARGEST_CANDIDATE_K else Method.GENERAL
    if parameters.top_p < 1.0:
        return Method.NUCLEUS
    if parameters.typical_p < 1.0:
        return Method.TYPICAL if parameters.min_p == 0.0 else Method.GENERAL
    return Method.DENSE
