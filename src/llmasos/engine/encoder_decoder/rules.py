"""What a model prescribes for its outputs: first and last tokens, tokens and sequences that must not occur.

The rules come from ``generation_config.json``; their meaning is that of transformers' logits processors, which also do
the work where a rule looks at the output so far. Log-probabilities are those of the distribution after these rules.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from transformers import (
    EncoderNoRepeatNGramLogitsProcessor,
    EncoderRepetitionPenaltyLogitsProcessor,
    LogitsProcessorList,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    SuppressTokensAtBeginLogitsProcessor,
)


class ModelRules:
    """The rules of one model."""

    def __init__(self, policy: Mapping[str, Any], *, end_ids: Collection[int]) -> None:
        """Args:
        policy: see :func:`llmasos.modeling.generation_defaults.policy`.
        end_ids: end tokens of the model, which ``bad_words_ids`` cannot forbid.
        """
        words = [list(word) for word in policy.get("bad_words_ids") or []]
        words = [word for word in words if word and not (len(word) == 1 and word[0] in end_ids)]
        forbidden = {word[0] for word in words if len(word) == 1} | set(policy.get("suppress_tokens") or ())
        self.forbidden = torch.tensor(sorted(forbidden), dtype=torch.long)
        """Tokens that never occur."""
        self._words = [word for word in words if len(word) > 1]
        self._policy = policy
        self._last = _first(policy.get("forced_eos_token_id"))

    def for_output(
        self,
        prompt: Sequence[int],
        *,
        limit: int,
        first: int | None,
        no_repeat_ngram_size: int,
        ignore_eos: bool,
        device: str,
    ) -> OutputRules:
        """The rules of one output.

        Args:
            prompt: what the encoder read.
            limit: most tokens of the output.
            first: the token that it must begin with; ``None``: the model's own, if it has one.
            ignore_eos: the model's end tokens are tokens like others.
        """
        policy, processors = self._policy, LogitsProcessorList()
        encoded: Any = torch.tensor([list(prompt)], device=device)
        if (penalty := policy.get("encoder_repetition_penalty")) not in (None, 1.0):
            processors.append(EncoderRepetitionPenaltyLogitsProcessor(penalty, encoded))
        if no_repeat_ngram_size:
            processors.append(NoRepeatNGramLogitsProcessor(no_repeat_ngram_size))
        if size := policy.get("encoder_no_repeat_ngram_size"):
            processors.append(EncoderNoRepeatNGramLogitsProcessor(size, encoded))
        if self._words:
            processors.append(NoBadWordsLogitsProcessor(self._words))
        begin = _first(policy.get("forced_bos_token_id")) if first is None else first
        if tokens := policy.get("begin_suppress_tokens"):
            processors.append(SuppressTokensAtBeginLogitsProcessor(tokens, 1 if begin is None else 2, device=device))
        return OutputRules(processors, begin, None if ignore_eos else self._last, limit)


class OutputRules:
    """The rules of one output in the making."""

    __slots__ = ("_begin", "_last", "_limit", "_processors")

    def __init__(self, processors: LogitsProcessorList, begin: int | None, last: int | None, limit: int) -> None:
        self._processors = processors
        self._begin = begin
        self._last = last
        self._limit = limit

    def prescribed(self, position: int) -> int | None:
        """The token that must stand at ``position`` of the output; ``None``: any."""
        if self.ends(position):
            return self._last
        return self._begin if position == 0 else None

    def ends(self, position: int) -> bool:
        """Whether the model prescribes the last token and this is its place."""
        return self._last is not None and position == self._limit - 1

    def edit(self, logits: torch.Tensor, tokens: Sequence[int]) -> None:
        """Change (vocabulary,) logits in place; ``tokens`` are those so far, the decoder's start token first."""
        if self._processors:
            ids: Any = torch.tensor([list(tokens)], device=logits.device)
            logits.copy_(self._processors(ids, logits[None])[0])


def _first(value: Any) -> int | None:
    """An id of the configuration, which may be a list."""
    if isinstance(value, list | tuple):
        return int(value[0]) if value else None
    return value if isinstance(value, int) else None
