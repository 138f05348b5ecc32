"""One run, live: where it stands, curves, what the model answers, log; stop and go on."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime

from nicegui import ui

from llmasos.errors import InvalidRequest
from llmasos.i18n import t
from llmasos.runs.digest import Digest
from llmasos.runs.events import EventFile
from llmasos.runs.facts import progress_pairs, result_pairs
from llmasos.runs.plots.figure import panels
from llmasos.runs.plots.html import figures
from llmasos.runs.queue import state_text
from llmasos.runs.run import Run
from llmasos.runs.series import Curves
from llmasos.runs.states import ACTIVE, State
from llmasos.runs.store import EVENTS, LOG, RECIPE
from llmasos.runs.tail import Tail
from llmasos.studio import address
from llmasos.studio.components import parts
from llmasos.studio.components.run_line import TONES
from llmasos.studio.components.run_result import result_links
from llmasos.studio.context import Context
from llmasos.studio.datasets.report import show_report
from llmasos.studio.page import Page

_LOG_LINES = 200
_POINTS = 400
_KEPT = 2_000
"""Points of a curve that are kept: a run may report for days, and many may look at it."""
_EVERY = 1.0


def build(context: Context, identifier: str) -> None:
    """The page of the run ``identifier``."""
    run = context.platform.queue.store.get(identifier)
    if run is None:
        with parts.empty("search_off", t("there is no run {run}", run=identifier)):
            ui.link(t("To the runs"), address.runs())
        return
    _Watch(context, run)


class _Watch:
    """Follows a run while its page is open."""

    def __init__(self, context: Context, run: Run) -> None:
        self._context, self._run = context, run
        folder = context.platform.queue.store.folder(run)
        self._events = EventFile(folder / EVENTS)
        self._log = Tail(folder / LOG)
        self._digest = Digest()
        self._points = Curves(most=_KEPT)
        self._lines: deque[str] = deque(maxlen=_LOG_LINES)
        with parts.heading(run.name or run.id, run.id):
            self._buttons = ui.element("div").classes("line").style("width: auto")
        with parts.card():
            self._state = ui.element("div").classes("line")
            self._bar = parts.Bar(t("Progress"))
            self._facts = ui.element("div")
            self._failure = ui.element("div")
        self._report = ui.element("div")
        with parts.card() as self._curves_card:
            parts.title_line(2, t("Curves"))
            self._curves = ui.element("div").classes("curves")
        self._curves_card.set_visibility(run.kind != "data")
        with parts.card() as self._sample_card:
            parts.title_line(2, t("What the model writes"))
            self._sample = ui.element("div").classes("talk")
        with parts.card():
            parts.title_line(2, t("Log"))
            self._text = ui.element("pre").classes("log").props(f'tabindex=0 role=region aria-label="{t("Log")}"')
        with ui.expansion(t("Recipe")).classes("w-full"):
            recipe = folder / RECIPE
            parts.code(recipe.read_text(encoding="utf-8") if recipe.exists() else "", "yaml")
        self._shown_state: State | None = None
        self._show_standing()
        self._show_state()
        self._timer = ui.timer(_EVERY, context.handle(self._look))

    async def _look(self) -> None:
        queue = self._context.platform.queue
        queue.dispatch()
        self._run = queue.store.get(self._run.id) or self._run
        # On a thread: when the page is opened, everything that the run ever said is read.
        kinds, lines = await asyncio.to_thread(self._read)
        if self._text.is_deleted:
            return
        if kinds or self._run.state is not self._shown_state:
            self._show_standing()
            if "metric" in kinds:
                self._show_curves()
            if "sample" in kinds:
                self._show_sample()
        self._sample_card.set_visibility(self._digest.sample is not None)
        if lines:
            self._show_log(lines)
        if self._run.state is not self._shown_state:
            self._show_state()
        if self._run.state not in ACTIVE:
            self._timer.deactivate()

    def _read(self) -> tuple[set[str], list[str]]:
        """What the run has said since the last look: kinds of events, and the last lines of the log."""
        kinds: set[str] = set()
        for event in self._events.read():
            self._digest.feed([event])
            self._points.feed([event])
            kinds.add(event.kind)
        return kinds, list(deque(self._log.texts(), maxlen=_LOG_LINES))

    def _show_standing(self) -> None:
        now = datetime.now(UTC)
        self._bar.show(1.0 if self._run.state is State.SUCCEEDED else self._digest.share)
        self._facts.clear()
        with self._facts:
            parts.facts([*progress_pairs(self._digest, self._run, now), *result_pairs(self._run)])

    def _show_state(self) -> None:
        self._shown_state = self._run.state
        self._state.clear()
        with self._state:
            parts.pill(self._run.kind)
            parts.pill(state_text(self._run.state), TONES[self._run.state])
        self._failure.clear()
        failure = self._run.failure if self._run.state not in ACTIVE else None
        with self._failure:
            if failure is not None:
                ui.label(failure.message).style("color: var(--bad)")
                if failure.hint:
                    ui.label(failure.hint).classes("soft")
            if self._run.can_resume:
                ui.label(t("It can go on where it stopped.")).classes("soft")
        if self._run.kind == "data" and self._run.state is State.SUCCEEDED:
            self._show_data()
        self._buttons.clear()
        with self._buttons:
            if self._run.state in ACTIVE:
                ui.button(t("Stop"), icon="stop", on_click=self._context.handle(self._stop)).props(
                    "unelevated no-caps color=negative"
                )
            result_links(self._context, self._run)
            if self._run.can_resume:
                ui.button(t("Go on"), icon="play_arrow", on_click=self._context.handle(self._resume)).props(
                    "unelevated no-caps"
                )

    def _show_data(self) -> None:
        """What a preparation made, and its report."""
        made = str(self._run.result.get("name") or self._run.result.get("digest"))
        self._report.clear()
        with self._report:
            ui.link(t("To the data set {name}", name=made), address.data_look(made))
            show_report(self._context, made)

    def _show_curves(self) -> None:
        try:
            drawn = panels([(self._run.id, self._points.points)], most=_POINTS)
        except InvalidRequest:  # one point is no curve yet
            return
        self._curves.clear()
        with self._curves:
            for figure in figures(drawn):  # of our own making, every text in it escaped
                ui.html(figure, sanitize=False)

    def _show_sample(self) -> None:
        sample = self._digest.sample
        assert sample is not None
        self._sample.clear()
        with self._sample:
            ui.label(str(sample.values.get("prompt", ""))).classes("said user")
            ui.label(str(sample.values.get("output", ""))).classes("said assistant")

    def _show_log(self, lines: list[str]) -> None:
        self._lines.extend(lines)
        self._text.clear()
        with self._text:
            ui.label("\n".join(self._lines))

    def _stop(self) -> None:
        self._run = self._context.platform.queue.stop(self._run)
        ui.notify(t("It stops after the step that it is in, with a checkpoint."))

    def _resume(self) -> None:
        queue = self._context.platform.queue
        self._run = queue.resume(self._run)
        queue.dispatch()
        self._timer.activate()


PAGE = Page("/runs/{identifier}", lambda: t("Run"), "insights", build, section="/runs")
