"""Everything that takes long: what runs, what ran, what became of it."""

from __future__ import annotations

from nicegui import ui

from llmasos.i18n import t
from llmasos.studio import address
from llmasos.studio.components import parts
from llmasos.studio.components.run_line import no_runs, run_line
from llmasos.studio.context import Context
from llmasos.studio.page import Page

_SHOWN = 50


def build(context: Context) -> None:
    """The page."""
    with parts.heading(t("Runs"), t("They go on when this page is closed, and when the server stops.")):
        ui.button(
            t("Compare runs"), icon="stacked_line_chart", on_click=lambda: ui.navigate.to(address.runs_comparison())
        ).props("flat no-caps")
    place = ui.element("div").classes("talk")
    before: list[object] = []

    def show() -> None:
        queue = context.platform.queue
        queue.dispatch()
        runs = queue.store.all()[:_SHOWN]
        now: list[object] = [(run.id, run.state) for run in runs]
        if place.default_slot.children and now == before:
            return
        before[:] = now
        place.clear()
        with place:
            if not runs:
                no_runs()
            for run in runs:
                run_line(context, run)

    show()
    ui.timer(2.0, context.handle(show))


PAGE = Page("/runs", lambda: t("Runs"), "insights", build)
