"""Choosing the next token of one sequence from its logits.

The order of the rules and their meaning are those of transformers' logits processors: bias and penalties, temperature,
top-k, top-p (nucleus, Holtzman et al. 2020), min-p (Nguyen et al. 2024). Every sequence has its own random generator,
so what it draws does not depend on its neighbours in the batch, and the global generator is never touched.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence

import torch

from llmasos.modeling.options import SamplingOptions
from llmasos.modeling.results import TokenLogprob

_FIRST_LOOK = 1024  # likeliest tokens that almost always hold a nucleus; sorting a whole vocabulary is slow


class Sampler:
    """Chooses the tokens of one sequence, one after the other.

    Args:
        options: what the caller asked for.
        end_ids: tokens that end the output; impossible before ``min_tokens``.
        context: tokens before the first, to which the repetition penalty also applies (the prompt).
    """

    def __init__(self, options: SamplingOptions, *, end_ids: Iterable[int], context: Sequence[int]) -> None:
        self._options = options
        self._end_ids = torch.tensor(sorted(set(end_ids)), dtype=torch.long)
        self._seen = torch.tensor(sorted(set(context)), dtype=torch.long)
        self._counts: dict[int, int] = {}
        self._generator: torch.Generator | None = None
        if not options.greedy:
            self._generator = torch.Generator()
            self._generator.manual_seed(options.seed if options.seed is not None else secrets.randbits(63))

    @property
    def chosen(self) -> int:
        """Tokens chosen so far."""
        return sum(self._counts.values())

    def choose(self, logits: torch.Tensor) -> tuple[int, TokenLogprob | None]:
        """Take the next token.

        Args:
            logits: (vocabulary,) float32 on any device; not changed.

        Returns:
            The token and, if the options ask for it, its log-probability before any rule was applied.
        """
        scores = self._penalised(logits)
        token = int(scores.argmax()) if self._options.greedy else self._draw(scores)
        self._note(token)
        return token, self._logprob(logits, token)

    def force(self, logits: torch.Tensor, token: int) -> tuple[int, TokenLogprob | None]:
        """Take a token that is given (the end token that some models must finish with)."""
        self._note(token)
        return token, self._logprob(logits, token)

    def _note(self, token: int) -> None:
        if token not in self._counts:
            new = torch.tensor([token])
            self._seen = torch.cat([self._seen, new]) if not (self._seen == token).any() else self._seen
        self._counts[token] = self._counts.get(token, 0) + 1

    def _penalised(self, logits: torch.Tensor) -> torch.Tensor:
        options = self._options
        early = self.chosen < options.min_tokens and len(self._end_ids) > 0
        penalised = options.presence_penalty or options.frequency_penalty
        if not (options.logit_bias or options.repetition_penalty != 1 or penalised or early):
            return logits
        scores = logits.clone()
        device = scores.device
        if options.repetition_penalty != 1 and len(self._seen):
            seen = self._seen.to(device)
            values = scores[seen]
            factor = options.repetition_penalty
            scores[seen] = torch.where(values < 0, values * factor, values / factor)
        if penalised and self._counts:
            ids = torch.tensor(list(self._counts), device=device)
            counts = torch.tensor(list(self._counts.values()), dtype=scores.dtype, device=device)
            scores[ids] -= options.presence_penalty + options.frequency_penalty * counts
        if options.logit_bias:
            ids = torch.tensor(list(options.logit_bias), device=device)
            scores[ids] += torch.tensor(list(options.logit_bias.values()), dtype=scores.dtype, device=device)
        if early:
            scores[self._end_ids.to(device)] = -torch.inf
        return scores

    def distribution(self, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Weights to draw by, after temperature, top-k, top-p and min-p.

        Args:
            scores: (vocabulary,) logits with penalties applied.

        Returns:
            Weights, not scaled to sum to 1, and the token ids that they belong to; ``None``: all, in order.
        """
        options = self._options
        scores = scores.to("cpu", torch.float32)
        # Relative to the best, so that a tiny temperature gives -inf for the others and never inf - inf.
        scaled = (scores - scores.max()) / options.temperature
        ids: torch.Tensor | None = None
        if options.top_k and options.top_k < scaled.numel():
            scaled, ids = scaled.topk(options.top_k)
        weights = scaled.softmax(-1)
        if options.top_p < 1:
            if ids is None:
                weights, ids = self._likeliest(weights)
            likelier = weights.cumsum(-1) - weights
            weights = torch.where(likelier < options.top_p, weights, 0.0)
        if options.min_p > 0:
            weights = torch.where(weights >= options.min_p * weights.max(), weights, 0.0)
        return weights, ids

    def _draw(self, scores: torch.Tensor) -> int:
        weights, ids = self.distribution(scores)
        position = int(torch.multinomial(weights, 1, generator=self._generator))
        return position if ids is None else int(ids[position])

    def _likeliest(self, probabilities: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Probabilities, highest first, and their ids: enough of them to hold the nucleus."""
        best, ids = probabilities.topk(min(_FIRST_LOOK, probabilities.numel()))
        if best.sum() < self._options.top_p:
            best, ids = probabilities.sort(descending=True)
        return best, ids

    def _logprob(self, logits: torch.Tensor, token: int) -> TokenLogprob | None:
        wanted = self._options.logprobs
        if wanted is None:
            return None
        logprobs = logits.float().log_softmax(-1)
        best, ids = logprobs.topk(min(wanted, logprobs.numel()))
        top = tuple(zip(ids.tolist(), best.tolist(), strict=True))
        return TokenLogprob(token, float(logprobs[token]), top)
