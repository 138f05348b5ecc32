"""Log-likelihoods of given texts, many at a time: the basis of multiple-choice evaluation and perplexity."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmasos.engine.request import Request, SamplingParameters, TokenLogprob
from llmasos.errors import ContextLengthExceeded, InvalidRequest, LLMasOSError
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.engine.engine import Engine


@dataclass(frozen=True, slots=True)
class Score:
    """How likely a text is, after its context if it has one. Natural logarithms."""

    logprobs: list[float]
    """One per token of the text."""
    greedy: bool
    """Whether greedy decoding would give exactly this text."""
    truncated_tokens: int = 0
    """Tokens of the context that were left out because they did not fit."""

    @property
    def total(self) -> float:
        """Log-probability of the whole text."""
        return sum(self.logprobs)

    @property
    def perplexity(self) -> float:
        """The exponential of the mean negative log-probability of a token."""
        return math.exp(-self.total / len(self.logprobs))


def score(
    engine: Engine,
    pairs: Iterable[tuple[Sequence[int], Sequence[int]]],
    *,
    adapter: str | None = None,
    truncate_context: bool = False,
) -> list[Score]:
    """Score continuations, all in shared batches; equal contexts are computed once.

    Args:
        pairs: (context, continuation) as token ids; the context may not be empty (give it the model's begin token).
        truncate_context: leave out the beginning of a context that does not fit; at least its last token stays.

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
    cuts = [0] * len(items)
    if truncate_context:
        longest = engine.limits.sequence_tokens
        for index, (context, continuation) in enumerate(items):
            cuts[index] = min(max(len(context) + len(continuation) - longest, 0), len(context) - 1)
    found = _scored(engine, [(context[cut:], text) for (context, text), cut in zip(items, cuts, strict=True)], adapter)
    return [
        Score([entry.logprob for entry in entries], _is_greedy(entries, text), cut)
        for entries, (_, text), cut in zip(found, items, cuts, strict=True)
    ]


def score_texts(
    engine: Engine,
    texts: Iterable[Sequence[int]],
    *,
    begin_id: int | None,
    window: int | None = None,
    overlap: int = 1,
    adapter: str | None = None,
) -> list[Score]:
    """Score whole texts of any length ("rolling" log-likelihood), every token once, all windows in shared batches.

    A text is cut into windows. In each, the first ``overlap`` tokens repeat the end of the window before, as context,
    and the others are scored; the first window begins with the begin token instead.

    Args:
        texts: token ids, without the begin token.
        begin_id: the token that the first token of a text follows; ``None``: that token is not scored, and serves as
            context.
        window: tokens of a window, context included; default: what the model can take.
        overlap: tokens of context; more of it costs time and gives each token a longer past.

    Raises:
        InvalidRequest: a text has nothing to score, or ``window`` and ``overlap`` do not go together.
        ContextLengthExceeded: ``window`` is longer than the model can take.
    """
    longest = engine.limits.sequence_tokens
    size = longest if window is None else window
    if size > longest:
        raise ContextLengthExceeded(
            t("window = {size} tokens; the model takes {limit}", size=size, limit=longest),
            hint=t("Leave it out to let LLMasOS choose."),
        )
    if not 1 <= overlap < size:
        raise InvalidRequest(
            t("{name} = {value}: allowed is {allowed}", name="overlap", value=overlap,
              allowed=t("a whole number from {low} to {high}", low=1, high=size - 1)),
            hint=t("Each window needs room for tokens that are scored."),
        )  # fmt: skip
    pairs: list[tuple[list[int], list[int]]] = []
    counts: list[int] = []
    for index, text in enumerate(texts):
        windows = list(_windows(list(text), begin_id, size, overlap))
        if not windows:
            raise InvalidRequest(
                t("text {index} has no token to score", index=index),
                hint=t("A text needs a token after the begin token."),
            )
        pairs += windows
        counts.append(len(windows))
    found = iter(zip(_scored(engine, pairs, adapter), pairs, strict=True))
    scores = []
    for count in counts:
        parts = [next(found) for _ in range(count)]
        scores.append(
            Score(
                [entry.logprob for entries, _ in parts for entry in entries],
                all(_is_greedy(entries, scored) for entries, (_, scored) in parts),
            )
        )
    return scores


def _windows(text: list[int], begin_id: int | None, size: int, overlap: int) -> Iterator[tuple[list[int], list[int]]]:
    """(context, scored tokens) that cover a text."""
    whole = text if begin_id is None else [begin_id, *text]
    done = 1
    while done < len(whole):
        context = whole[max(done - overlap, 0) : done]
        end = min(done + size - len(context), len(whole))
        yield context, whole[done:end]
        done = end


def _is_greedy(entries: Sequence[TokenLogprob], tokens: Sequence[int]) -> bool:
    return all(entry.top[0][0] == token for entry, token in zip(entries, tokens, strict=True))


def _scored(
    engine: Engine, pairs: Sequence[tuple[list[int], list[int]]], adapter: str | None
) -> list[list[TokenLogprob]]:
    """For each pair one entry per token of its second part."""
    results = engine.generate(
        Request(
            context + text,
            SamplingParameters(temperature=0, max_tokens=0, prompt_logprobs=1, prompt_logprobs_from=len(context)),
            adapter=adapter,
        )
        for context, text in pairs
    )
    found = []
    for (context, text), result in zip(pairs, results, strict=True):
        error = result.outputs[0].error
        if error is not None or result.prompt_logprobs is None:
            raise LLMasOSError(t("scoring failed: {error}", error=error or result.finish_reason))
        entries = [entry for entry in result.prompt_logprobs[len(context) :] if entry is not None]
        assert len(entries) == len(text)
        found.append(entries)
    return found
