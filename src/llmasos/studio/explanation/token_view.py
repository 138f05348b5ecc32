"""Each token's probability, rank and entropy, and what the model expected in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import ui

from llmasos.explain.explanation import Explanation
from llmasos.explain.tokens import Prediction
from llmasos.i18n import t
from llmasos.studio.components import parts
from llmasos.studio.components.labelled import labelled
from llmasos.studio.context import Context
from llmasos.studio.explanation import markup
from llmasos.studio.explanation.strip import Strip


class TokenView:
    """A heat map over the text, and the values of the chosen token."""

    def __init__(self, context: Context, found: Explanation, chosen: Callable[[int], Any]) -> None:
        self._found = found
        self._measure: markup.Measure = "probability"
        with parts.card():
            with ui.element("div").classes("line apart"):
                parts.title_line(2, t("Tokens"))
                names = {"probability": t("Probability"), "rank": t("Rank"), "entropy": t("Entropy")}
                measure = ui.select(names, value=self._measure, label=t("Shade by")).props(
                    "outlined dense options-dense"
                )
                measure.style("min-width: 150px").on_value_change(context.handle(lambda: self._shade_by(measure.value)))
            ui.label(_summary(found)).classes("small soft number")
            self._strip = Strip(context, found.tokens, t("Tokens of the text"), chosen)
            ui.label(t("Darker: less expected. Choose a token with a click or the arrow keys.")).classes("small soft")
            with ui.element("div").props("aria-live=polite"):
                self._detail = ui.element("div").classes("talk")
            with ui.expansion(t("As a table")).classes("w-full"):
                with ui.element("div").classes("wide").props("tabindex=0 role=group") as place:
                    ui.html(markup.table(found.tokens), sanitize=False)
                labelled(place, t("As a table"))
        self._shade()

    def choose(self, position: int) -> None:
        """Show a token's values."""
        self._strip.show(position=position)
        token = self._found.tokens[position]
        self._detail.clear()
        with self._detail:
            ui.label(markup.told(token)).classes("number")
            with ui.element("div").classes("columns"):
                if token.expected is not None:
                    _candidates(t("Expected here"), token.expected, token.token_id)
                if position == len(self._found.tokens) - 1:
                    _candidates(t("What would come next"), self._found.following, None)

    def _shade_by(self, measure: markup.Measure) -> None:
        self._measure = measure
        self._shade()

    def _shade(self) -> None:
        self._strip.show([markup.shade(token.expected, self._measure) for token in self._found.tokens])


def _candidates(title: str, expected: Prediction, actual: int | None) -> None:
    with ui.element("div"):
        parts.title_line(3, title)
        ui.html(markup.candidates(expected, actual), sanitize=False)


def _summary(found: Explanation) -> str:
    text = t("{count} tokens", count=len(found.tokens))
    if found.perplexity is None:
        return text
    return text + " · " + t("perplexity {value}", value=f"{found.perplexity:,.1f}")
