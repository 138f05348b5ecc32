"""Log-likelihoods of given continuations, many at a time: the basis of multiple-choice evaluation and perplexity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmasos.engine.request import Request, SamplingParameters
from llmasos.errors import InvalidRequest, LLMasOSError
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.engine.engine import Engine


@dataclass(frozen=True, slots=True)
class Score:
    """How likely a continuation is after its context. Natural logarithms."""

    logprobs: list[float]
    """One per token of the continuation."""
    greedy: bool
    """Whether greedy decoding would give exactly this continuation."""

    @property
    def total(self) -> float:
        """Log-probability of the whole continuation."""
        return sum(self.logprobs)


def score(
    engine: Engine, pairs: Iterable[tuple[Sequence[int], Sequence[int]]], *, adapter: str | None = None
) -> list[Score]:
    """Score continuations, all in shared batches; equal contexts are computed once.

    Args:
        pairs: (context, continuation) as token ids; the context may not be empty (give it the model's begin token).

    Raises:
        InvalidRequest: a context or continuation is empty; nothing is computed then.
        ContextLengthExceeded: a pair does not fit the model.
    """
    items = [(list(context), list(continuation)) for context, continuation in pairs]
    for index, (context, continuation) in enumerate(items):
        if not context or not continuation:
            raise InvalidRequest(
                t(
                    "pair {index}: the {part} is empty",
                    index=index,
                    part=t("continuation") if context else t("context"),
                ),
                hint=t("An empty context is scored by giving the model's begin-of-text token."),
            )
    requests = [
        Request(
            context + continuation,
            SamplingParameters(temperature=0, max_tokens=0, prompt_logprobs=1, prompt_logprobs_from=len(context)),
            adapter=adapter,
        )
        for context, continuation in items
    ]
    results = engine.generate(requests)
    scores = []
    for (context, continuation), result in zip(items, results, strict=True):
        error = result.outputs[0].error
        if error is not None or result.prompt_logprobs is None:
            raise LLMasOSError(t("scoring failed: {error}", error=error or result.finish_reason))
        found = [entry for entry in result.prompt_logprobs[len(context) :] if entry is not None]
        assert len(found) == len(continuation)
        scores.append(
            Score(
                [entry.logprob for entry in found],
                all(entry.top[0][0] == token for entry, token in zip(found, continuation, strict=True)),
            )
        )
    return scores
