"""Runs beside each other: their curves in one figure, what their recipes differ in, what came of them."""

from __future__ import annotations

import asyncio
from typing import Any

import yaml
from nicegui import ui

from llmasos.errors import InvalidRequest
from llmasos.i18n import t
from llmasos.runs.comparison import differing_settings, label_of, measures_after, result_table
from llmasos.runs.events import EventFile
from llmasos.runs.plots.figure import Panel, panels
from llmasos.runs.plots.html import figures
from llmasos.runs.run import Run
from llmasos.runs.series import Point, curves
from llmasos.runs.store import EVENTS, RECIPE, RunStore
from llmasos.studio import address
from llmasos.studio.components import parts
from llmasos.studio.components.run_line import no_runs
from llmasos.studio.components.table import table
from llmasos.studio.context import Context
from llmasos.studio.page import Page

_OFFERED = 200
_MOST = 8
"""Runs in one figure: as many as there are colours."""
_POINTS = 400


def build(context: Context, runs: str = "") -> None:
    """The page, with the runs whose ids are given, divided by commas."""
    with parts.heading(t("Compare runs"), t("Their curves in one figure, and what made the difference.")):
        ui.link(t("To the runs"), address.runs())
    store = context.platform.queue.store
    offered = [run for run in store.all()[:_OFFERED] if run.kind != "data"]
    if not offered:
        no_runs()
        return
    known = {run.id for run in offered}
    chosen = [identifier for identifier in runs.split(",") if identifier in known]
    _Comparison(context, offered, chosen or _alike(offered))


def _alike(runs: list[Run]) -> list[str]:
    """The two newest of the kind of the newest."""
    return [run.id for run in runs if run.kind == runs[0].kind][:2]


class _Comparison:
    def __init__(self, context: Context, offered: list[Run], chosen: list[str]) -> None:
        self._store = context.platform.queue.store
        names = {run.id: f"{run.name} · {run.id}" if run.name else run.id for run in offered}
        self._select = ui.select(names, value=chosen, multiple=True, label=t("Runs")).props(
            "outlined use-chips"
        )  # fmt: skip
        self._select.props(f"max-values={_MOST}").classes("w-full")
        self._select.on_value_change(context.handle(self._show))
        self._place = ui.element("div").classes("talk")
        ui.timer(0.01, context.handle(self._show), once=True)

    async def _show(self) -> None:
        identifiers = list(self._select.value or ())
        found = [run for run in (self._store.get(identifier) for identifier in identifiers) if run is not None]
        drawn = await asyncio.to_thread(_gathered, self._store, found)
        if self._place.is_deleted or identifiers != list(self._select.value or ()):
            return
        self._place.clear()
        with self._place:
            if len(found) < 2:
                ui.label(t("Choose two runs or more.")).classes("soft")
                return
            self._build(found, *drawn)

    def _build(self, runs: list[Run], drawn: list[Panel], lines: list[dict[str, list[Point]]],
               recipes: list[dict[str, Any]]) -> None:  # fmt: skip
        labels = [label_of(run, runs) for run in runs]
        with parts.card():
            parts.title_line(2, t("Curves"))
            if not drawn:
                ui.label(t("There is nothing to draw yet.")).classes("soft")
            with ui.element("div").classes("curves"):
                for figure in figures(drawn):  # of our own making, every text in it escaped
                    ui.html(figure, sanitize=False)
        with parts.card():
            parts.title_line(2, t("Results"))
            heads, *rows = result_table(runs, list(zip(labels, lines, strict=True)))
            after = measures_after(runs)
            heads += [name for name, _ in after]
            rows = [[*row, *(_figure(values[number]) for _, values in after)] for number, row in enumerate(rows)]
            table(heads, rows, label=t("Results"))
        with parts.card():
            parts.title_line(2, t("Settings that differ"))
            settings = differing_settings(recipes)
            if not settings:
                ui.label(t("None: the recipes say the same.")).classes("soft")
                return
            table(
                [t("Setting"), *labels], [[key, *values] for key, values in settings], label=t("Settings that differ")
            )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _gathered(store: RunStore, runs: list[Run]) -> tuple[list[Panel], list[dict[str, list[Point]]],
                                                         list[dict[str, Any]]]:  # fmt: skip
    lines = [curves(EventFile(store.folder(run) / EVENTS).read()) for run in runs]
    try:
        drawn = panels([(label_of(run, runs), found) for run, found in zip(runs, lines, strict=True)], most=_POINTS)
    except InvalidRequest:  # one point is no curve yet
        drawn = []
    return drawn, lines, [_recipe(store, run) for run in runs]


def _recipe(store: RunStore, run: Run) -> dict[str, Any]:
    """What the run keeps of its recipe; nothing if the file is gone."""
    try:
        values = yaml.safe_load((store.folder(run) / RECIPE).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return values if isinstance(values, dict) else {}


PAGE = Page("/runs/compare", lambda: t("Compare runs"), "insights", build, section="/runs")
