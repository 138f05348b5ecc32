"""What the page shows of tokens, as HTML; every text in it is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Literal

from llmasos.explain.explanation import ExplainedToken
from llmasos.explain.tokens import Prediction
from llmasos.i18n import t

Measure = Literal["probability", "rank", "entropy"]
_DARKEST = 0.6
_MOST_ENTROPY = 12.0
"""Bits at which a place is as dark as it gets."""
_MOST_RANK = 1000
_SIGNS = {"\n": "↵", "\t": "⇥", "\r": "␍", " ": "␣"}


def visible(text: str) -> str:
    """A token with its spaces, tabs and line ends to be seen."""
    return "".join(_SIGNS.get(sign) or (sign if sign.isprintable() else repr(sign)[1:-1]) for sign in text) or "∅"


def shade(expected: Prediction | None, measure: Measure) -> float:
    """How dark a token is, between 0 and :data:`_DARKEST`: the less the model expected it, or the more it wavered."""
    if expected is None or expected.probability is None or expected.rank is None:
        return 0.0
    share = {
        "probability": 1 - expected.probability,
        "rank": min(math.log(expected.rank) / math.log(_MOST_RANK), 1.0),
        "entropy": min(expected.entropy / _MOST_ENTROPY, 1.0),
    }[measure]
    return round(share * _DARKEST, 3)


def told(token: ExplainedToken) -> str:
    """A token's values in a few words."""
    expected = token.expected
    if expected is None or expected.probability is None:
        return t("{text}: the first token, nothing stands before it", text=visible(token.text))
    return t(
        "{text}: probability {probability}, rank {rank}, entropy {entropy} bits",
        text=visible(token.text), probability=exact(expected.probability), rank=f"{expected.rank:,}",
        entropy=f"{expected.entropy:.1f}",
    )  # fmt: skip


def percent(share: float) -> str:
    """A share in a few characters."""
    return f"{share:.1%}" if share >= 0.001 or share == 0 else "<0.1%"


def exact(share: float) -> str:
    """A share with as many digits as it needs to be told from nothing."""
    return f"{share:.1%}" if share >= 0.001 else f"{share:.1e}"


def strip(tokens: Sequence[ExplainedToken], shades: Sequence[float], chosen: int) -> str:
    """The text as tokens to choose from: one of them can be reached with the keyboard, the arrows lead on from it."""
    found = []
    for token, dark in zip(tokens, shades, strict=True):
        mine = token.position == chosen
        classes = "token pick before" if token.context else "token pick"
        text = escape(token.text).replace("\n", "↵\n").replace("\t", "⇥") or "∅"
        found.append(
            f'<span class="{classes}" role="option" data-position="{token.position}" tabindex="{0 if mine else -1}" '
            f'aria-selected="{str(mine).lower()}" aria-label="{escape(told(token))}" title="{escape(told(token))}" '
            f'style="--shade: {dark}">{text}</span>'
        )
    return "".join(found)


def candidates(expected: Prediction, actual: int | None) -> str:
    """The likeliest tokens with bars; the one that is there is marked."""
    rows = []
    for item in expected.candidates:
        mine = ' class="there"' if item.token_id == actual else ""
        rows.append(
            f'<tr{mine}><th scope="row" class="mono">{escape(visible(item.text))}</th>'
            f'<td class="bar-cell"><div style="width: {item.probability:.1%}"></div></td>'
            f'<td class="number">{escape(percent(item.probability))}</td></tr>'
        )
    head = f"<tr><th>{escape(t('Token'))}</th><th></th><th>{escape(t('Probability'))}</th></tr>"
    return f'<table class="plain bars"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'


def table(tokens: Sequence[ExplainedToken]) -> str:
    """Every token with its values, for reading rather than looking."""
    rows = []
    for token in tokens:
        expected = token.expected
        cells = ["–"] * 3 + [""]
        if expected is not None and expected.probability is not None:
            best = ", ".join(f"{visible(item.text)} {percent(item.probability)}" for item in expected.candidates[:3])
            cells = [exact(expected.probability), f"{expected.rank:,}", f"{expected.entropy:.1f}", best]
        rows.append(_row([str(token.position), visible(token.text), *cells]))
    names = ("#", t("Token"), t("Probability"), t("Rank"), t("Entropy, bits"), t("Expected"))
    return _table(names, rows)


def attended(tokens: Sequence[ExplainedToken], shares: Sequence[tuple[int, float]]) -> str:
    """What a token attended to, the most first."""
    rows = [
        f'<tr><td class="number">{place}</td><th scope="row" class="mono">{escape(visible(tokens[place].text))}</th>'
        f'<td class="bar-cell"><div style="width: {share:.1%}"></div></td>'
        f'<td class="number">{escape(percent(share))}</td></tr>'
        for place, share in shares
    ]
    head = f"<tr><th>#</th><th>{escape(t('Token'))}</th><th></th><th>{escape(t('Share'))}</th></tr>"
    return f'<table class="plain bars"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'


def lens(layers: Sequence[tuple[str, Prediction]], following: int | None) -> str:
    """What each layer would say, a line each."""
    rows = []
    for name, prediction in layers:
        said = []
        for item in prediction.candidates:
            there = " there" if item.token_id == following else ""
            said.append(
                f'<span class="saying{there}" style="--shade: {round(item.probability * _DARKEST, 3)}">'
                f'<span class="mono">{escape(visible(item.text))}</span> {escape(percent(item.probability))}</span>'
            )
        rank = "" if prediction.rank is None else f"{prediction.rank:,}"
        rows.append(
            f'<tr><th scope="row">{escape(name)}</th><td>{" ".join(said)}</td><td class="number">{rank}</td></tr>'
        )
    names = (t("Layer"), t("Would say"), t("Rank of what follows"))
    return _table(names, rows, "lens")


def _row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _table(names: Sequence[str], rows: Sequence[str], kind: str = "") -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    return f'<table class="plain number {kind}"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
