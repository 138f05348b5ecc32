"""The leaderboard: models by tasks, with intervals, and how much had no answer."""

from __future__ import annotations

import asyncio

from nicegui import ui

from llmasos.evaluation.finished import FinishedEvaluations, key_of
from llmasos.evaluation.leaderboard import Place, Table, leaderboard
from llmasos.evaluation.reports.rows import figure, interval
from llmasos.i18n import t
from llmasos.studio import address
from llmasos.studio.components import parts
from llmasos.studio.context import Context
from llmasos.studio.evaluation import intervals
from llmasos.studio.evaluation.board import BY_MODEL, Board, Row, board, ordered
from llmasos.studio.evaluation.sections import (
    is_made_up,
    percent,
    section_links,
    settings_text,
    share_without_answer,
)
from llmasos.studio.page import Page

_EVERY = ""


def build(context: Context) -> None:
    """The page."""
    with parts.heading(t("Leaderboard"), t("Models by their scores. Only what was measured alike is in one column.")):
        ui.button(t("Evaluate a model"), icon="add", on_click=lambda: ui.navigate.to(address.evaluate())).props(
            "unelevated no-caps"
        )
    section_links(address.leaderboard())
    place = ui.element("div").classes("talk")

    async def fill() -> None:
        tables = await asyncio.to_thread(_tables, context.platform.evaluations)
        if place.is_deleted:
            return
        with place:
            for problem in context.platform.evaluations.damaged:
                ui.label(problem).style("color: var(--bad)")
            if tables:
                _Leaderboard(context, tables)
            else:
                nothing_measured()

    ui.timer(0, context.handle(fill), once=True)


def nothing_measured() -> None:
    """What stands where there are no scores."""
    with parts.empty("leaderboard", t("No model has been measured yet."),
                     t("Take a model and a task; the built-in samples need no download.")):  # fmt: skip
        ui.link(t("Evaluate a model"), address.evaluate())


def _tables(evaluations: FinishedEvaluations) -> list[Table]:
    return leaderboard([item.evaluation for item in evaluations.all()])


class _Leaderboard:
    """The table with its filters, and beneath it the column that is looked at."""

    def __init__(self, context: Context, tables: list[Table]) -> None:
        self._context, self._tables = context, tables
        tasks = sorted({table.task for table in tables})
        self._column, self._best_first = 0, True
        with ui.element("div").classes("line"):
            show = context.handle(self._filter)
            self._text = ui.input(placeholder=t("Search models"), on_change=show).props(
                f'outlined dense clearable debounce=200 aria-label="{t("Search models")}"'
            )
            self._task = ui.select({_EVERY: t("all tasks"), **{task: task for task in tasks}}, value=_EVERY,
                                   label=t("Task"), on_change=show)  # fmt: skip
            self._task.props("outlined dense").style("min-width: 180px")
            real = any(not is_made_up(table.places[0].evaluation) for table in tables)
            self._made_up = ui.switch(t("With runs on made-up rows"), value=True, on_change=show)
            self._made_up.set_visibility(real and any(is_made_up(table.places[0].evaluation) for table in tables))
        with parts.card():
            self._table_place = ui.element("div").classes("wide")
        self._one_place = ui.element("div").classes("talk")
        self._filter()

    def _filter(self) -> None:
        self._board = board(self._tables, text=self._text.value or "", task=self._task.value or None,
                            made_up=self._made_up.value)  # fmt: skip
        if self._column >= len(self._board.columns):
            self._column = 0
        self._show()

    def _sort(self, column: int) -> None:
        self._best_first = not self._best_first if column == self._column else True
        self._column = column
        self._show()

    def _show(self) -> None:
        self._table_place.clear()
        self._one_place.clear()
        if not self._board.rows or not self._board.columns:
            with self._table_place:
                ui.label(t("No model is like that.")).classes("soft")
            return
        rows = ordered(self._board, self._column, best_first=self._best_first)
        with self._table_place, ui.element("table").classes("plain board"):
            with ui.element("tr"):
                self._head(BY_MODEL, t("Model"), "")
                for number, table in enumerate(self._board.columns):
                    self._head(number, table.task, table.metric)
            for row in rows:
                self._row(row)
        if self._column != BY_MODEL:
            with self._one_place:
                _one_table(self._board, self._column, rows)

    def _head(self, column: int, title: str, metric: str) -> None:
        with ui.element("th").props("scope=col") as cell:
            if column == self._column:
                cell.props(f"aria-sort={'descending' if self._best_first else 'ascending'}")
            arrow = ("arrow_downward" if self._best_first else "arrow_upward") if column == self._column else None
            ui.button(title, icon=arrow, on_click=self._context.handle(lambda: self._sort(column))).props(
                "flat dense no-caps"
            )
            if metric:
                ui.label(metric).classes("small soft")
                table = self._board.columns[column]
                ui.label(t("{count} samples", count=f"{table.samples:,}")).classes("small soft number")
                if is_made_up(table.places[0].evaluation):
                    parts.pill(t("made-up rows"), "warn")

    def _row(self, row: Row) -> None:
        with ui.element("tr"):
            with ui.element("th").props("scope=row"):
                ui.label(row.model)
                if row.variant:
                    ui.label(row.variant).classes("small soft")
            for number in range(len(self._board.columns)):
                with ui.element("td"):
                    place = row.places.get(number)
                    if place is None:
                        ui.label("–").props(f'aria-label="{t("not measured")}"').props("role=img").classes("soft")
                    else:
                        _cell(place)


def _cell(place: Place) -> None:
    ui.link(figure(place.entry.value), address.evaluation(key_of(place.evaluation))).classes("number")
    ui.label(interval(place.entry)).classes("small soft number")
    share = share_without_answer(place.evaluation)
    if share:
        parts.pill(t("{share} without an answer", share=percent(share)), "warn")


def _one_table(board: Board, column: int, rows: list[Row]) -> None:
    """The models of one column with their intervals as pictures."""
    table = board.columns[column]
    shown = [row for row in rows if column in row.places]
    scale = intervals.scale_of(row.places[column].entry for row in shown)
    with parts.card():
        with ui.element("div").classes("line apart"):
            parts.title_line(2, f"{table.task}: {table.metric}")
            if len(shown) > 1:
                first, second = (key_of(row.places[column].evaluation) for row in shown[:2])
                ui.link(t("Compare the first two"), address.comparison(first, second))
        told = [t("{count} samples", count=f"{table.samples:,}"), settings_text(table.places[0].evaluation)]
        if not table.places[0].entry.higher_is_better:
            told.append(t("less is better"))
        ui.label(" · ".join(filter(None, told))).classes("small soft")
        for row in shown:
            place = row.places[column]
            with ui.element("div").classes("ranked"):
                with ui.element("div"):
                    ui.label(row.model)
                    if row.variant:
                        ui.label(row.variant).classes("small soft")
                intervals.draw(place.entry, scale)
                with ui.element("div").classes("small number"):
                    ui.label(f"{figure(place.entry.value)} {interval(place.entry)}")
                    share = percent(share_without_answer(place.evaluation))
                    ui.label(t("{share} without an answer", share=share)).classes("soft")
        with ui.element("div").classes("ranked small soft number").props("aria-hidden=true"):
            ui.element("div")
            with ui.element("div").classes("line apart"):
                ui.label(figure(scale.low))
                ui.label(figure(scale.high))
            ui.element("div")
        if any(place.tied and place.rank > 1 for place in table.places):
            ui.label(t("Intervals overlap that of the first: only a comparison on the same samples can tell them "
                       "apart.")).classes("small soft")  # fmt: skip


PAGE = Page("/evaluate/leaderboard", lambda: t("Leaderboard"), "leaderboard", build, section="/evaluate")
