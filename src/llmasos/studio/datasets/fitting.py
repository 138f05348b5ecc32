"""How the records fit the meaning of their columns: samples, what is left out and why, what is not used."""

from __future__ import annotations

from nicegui import ui

from llmasos.data.look import Fit
from llmasos.data.report.names import reason_text
from llmasos.i18n import t
from llmasos.studio.components import parts
from llmasos.studio.datasets.whole_text import clipped

_SAMPLES = 3
_EXAMPLES = 5
_CHARACTERS = 600


def show_fit(found: Fit) -> None:
    """Built into the element that is open."""
    looked_at = found.good + found.bad
    with ui.element("div").classes("line"):
        parts.pill(t("{good} of {count} rows can be used", good=f"{found.good:,}", count=f"{looked_at:,}"),
                   "good" if not found.bad else "warn" if found.good else "bad")  # fmt: skip
        for reason, count in found.reasons.items():
            parts.pill(f"{reason_text(reason)}: {count:,}", "bad")
    if not found.complete:
        ui.label(
            t("These are the first {count} rows. Preparing looks at all, and reports each that is left out.",
              count=f"{looked_at:,}")
        ).classes("small soft")  # fmt: skip
    if found.unused:
        ui.label(t("Columns that are not used: {names}", names=", ".join(found.unused))).classes("small soft")
    if found.unreadable:
        with ui.expansion(t("Rows that are left out")).classes("w-full"):
            for item in found.unreadable[:_EXAMPLES]:
                with ui.element("div").classes("place"):
                    reason = f"{item.origin}: {reason_text(item.rejection.reason)}: {item.rejection.detail}"
                    ui.label(reason).classes("small soft")
                    clipped(item.raw, _CHARACTERS, str(item.origin))
            if found.bad > _EXAMPLES:
                ui.label(t("and {count} more", count=f"{found.bad - _EXAMPLES:,}")).classes("small soft")
    for row in found.rows[:_SAMPLES]:
        with ui.element("div").classes("talk").style("gap: 4px"):
            label = getattr(row.sample, "label", None)
            with ui.element("div").classes("line"):
                ui.label(str(row.origin)).classes("small soft mono").style("flex: 0 1 auto")
                if label is not None:
                    parts.pill(t("class {name}", name=label), "alive")
            for place, text in row.texts():
                with ui.element("div").classes("place"):
                    ui.label(place).classes("small soft")
                    clipped(text, _CHARACTERS, f"{row.origin}, {place}")
