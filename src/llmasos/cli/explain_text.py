"""How `llmasos explain` shows what it found, for people and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmasos.cli.output import Column, Output
from llmasos.i18n import t

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from llmasos.explain.explanation import Explanation, LensLayer
    from llmasos.explain.tokens import Candidate, Prediction

_MOST_SEEN = 4
"""Tokens that are named for each one's attention."""


def record(found: Explanation) -> dict[str, Any]:
    """An explanation as JSON, attention and lens left out."""
    return {
        "perplexity": found.perplexity,
        "logprob": found.logprob,
        "tokens": [
            {
                "position": item.position, "token_id": item.token_id, "text": item.text, "context": item.context,
                **({} if item.expected is None else _prediction(item.expected)),
            }
            for item in found.tokens
        ],
        "following": _prediction(found.following),
    }  # fmt: skip


def lens_record(layer: LensLayer) -> dict[str, Any]:
    """What a layer would say, as JSON."""
    return {"layer": layer.layer, **_prediction(layer.prediction)}


def _prediction(found: Prediction) -> dict[str, Any]:
    own = {} if found.rank is None else {
        "logprob": found.logprob, "probability": found.probability, "rank": found.rank,
    }  # fmt: skip
    return {
        **own,
        "entropy": found.entropy,
        "candidates": [
            {"token_id": item.token_id, "text": item.text, "logprob": item.logprob, "probability": item.probability}
            for item in found.candidates
        ],
    }


def print_tokens(out: Output, found: Explanation) -> None:
    """A table with a line for each token, and what would come next."""
    rows = []
    for item in found.tokens:
        expected = item.expected
        own = ("", "", "", "") if expected is None else (
            f"{expected.probability:.1%}", str(expected.rank), f"{expected.entropy:.1f}", _named(expected.candidates),
        )  # fmt: skip
        rows.append((str(item.position), repr(item.text), *own))
    rows.append((str(len(rows)), t("(next)"), "", "", f"{found.following.entropy:.1f}",
                 _named(found.following.candidates)))  # fmt: skip
    out.table(
        [Column("#", right=True), Column(t("Token"), style="bold"), Column(t("Probability"), right=True),
         Column(t("Rank"), right=True), Column(t("Entropy"), right=True), Column(t("Expected"))],
        rows,
    )  # fmt: skip
    if found.perplexity is not None:
        out.print(t("Perplexity {value}", value=f"{found.perplexity:.2f}"))


def print_attention(out: Output, found: Explanation, weights: NDArray[np.float32]) -> None:
    """What each token took most from."""
    out.print()
    rows = []
    for item in found.tokens:
        best = weights[item.position].argsort()[::-1][:_MOST_SEEN]
        seen = ", ".join(
            f"{int(place)} {found.tokens[int(place)].text!r} {weights[item.position, place]:.0%}"
            for place in best if place <= item.position
        )  # fmt: skip
        rows.append((str(item.position), repr(item.text), seen))
    out.table([Column("#", right=True), Column(t("Token"), style="bold"), Column(t("Attends to"))], rows)


def print_lens(out: Output, layers: list[LensLayer]) -> None:
    """What each layer would say."""
    out.print()
    rows = [
        (t("embedding") if item.layer < 0 else str(item.layer),
         "" if item.prediction.rank is None else str(item.prediction.rank), _named(item.prediction.candidates))
        for item in layers
    ]  # fmt: skip
    out.table([Column(t("Layer"), right=True), Column(t("Rank of what follows"), right=True), t("Would say")], rows)


def _named(candidates: tuple[Candidate, ...]) -> str:
    return ", ".join(f"{item.text!r} {item.probability:.0%}" for item in candidates)
