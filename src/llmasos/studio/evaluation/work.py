"""Evaluations that are going on, that were interrupted, and that are done, live."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nicegui import ui

from llmasos.errors import LLMasOSError
from llmasos.evaluation.finished import key_of
from llmasos.evaluation.reports.rows import figure, interval
from llmasos.evaluation.result import Evaluation
from llmasos.evaluation.store import read_evaluation
from llmasos.i18n import t
from llmasos.recipe.loading import read
from llmasos.runs.digest import Digest
from llmasos.runs.events import EventFile
from llmasos.runs.facts import progress_pairs
from llmasos.runs.queue import state_text
from llmasos.runs.run import Run
from llmasos.runs.states import ACTIVE, State
from llmasos.runs.store import EVENTS, RECIPE
from llmasos.studio import address
from llmasos.studio.components import parts
from llmasos.studio.components.run_line import TONES
from llmasos.studio.context import Context
from llmasos.studio.evaluation.sections import percent, share_without_answer

_SHOWN = 8
KIND = "evaluate"


class EvaluationRuns:
    """The newest evaluations, in the element that is open."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._cards: dict[str, _Card] = {}
        self._place = ui.element("div").classes("talk")
        with self._place:
            self._nothing = ui.label(t("Nothing has been measured here yet.")).classes("soft")
        ui.timer(1.0, context.handle(self.look))

    async def look(self) -> None:
        """Show what is new."""
        runs = await asyncio.to_thread(self._newest)
        if self._place.is_deleted:
            return
        self._nothing.set_visibility(not runs)
        for run in reversed(runs):  # the newest comes on top
            card = self._cards.get(run.id)
            if card is None:
                with self._place:
                    card = self._cards[run.id] = _Card(self._context, run)
                card.element.move(self._place, 0)
            await card.look(run)
        for identifier in self._cards.keys() - {run.id for run in runs}:
            self._cards.pop(identifier).element.delete()

    def _newest(self) -> list[Run]:
        queue = self._context.platform.queue
        queue.dispatch()
        return [run for run in queue.store.all() if run.kind == KIND][:_SHOWN]


class _Card:
    """One evaluation."""

    def __init__(self, context: Context, run: Run) -> None:
        self._context, self._run = context, run
        self._folder = context.platform.queue.store.folder(run)
        self._events = EventFile(self._folder / EVENTS)
        self._digest = Digest()
        self._shown: tuple[State, int] | None = None
        with parts.card() as self.element:
            with ui.element("div").classes("line apart"):
                with ui.element("div"):
                    parts.title_line(3, run.name or run.id)
                    self._tasks = ui.label("").classes("small soft")
                with ui.element("div").classes("line").style("width: auto"):
                    self._state = ui.element("div")
                    self._buttons = ui.element("div").classes("line").style("width: auto")
            with ui.element("div") as self._progress:
                self._bar = parts.Bar(t("Progress"))
            self._told = ui.label("").classes("small soft number")
            self._result = ui.element("div").classes("talk")

    async def look(self, run: Run) -> None:
        """Show where it stands now."""
        self._run = run
        if not self._tasks.text:
            self._tasks.text = await asyncio.to_thread(_tasks_text, self._folder / RECIPE)
        active = run.state in ACTIVE
        if active or self._shown is None or self._shown[0] is not run.state:
            events = await asyncio.to_thread(lambda: list(self._events.read()))
            self._digest.feed(events)
            if self._told.is_deleted:
                return
            self._show_progress()
        if self._shown != (run.state, run.attempt):
            self._shown = (run.state, run.attempt)
            await self._show_state()

    def _show_progress(self) -> None:
        run = self._run
        self._bar.show(self._digest.share)
        self._progress.set_visibility(run.state is not State.SUCCEEDED)
        told = [str(value) for _, value in progress_pairs(self._digest, run, datetime.now(UTC))]
        if self._digest.task is not None and run.state in ACTIVE:
            told.insert(0, self._digest.task.label)
        self._told.text = " · ".join(told) if run.state is not State.SUCCEEDED else ""

    async def _show_state(self) -> None:
        run = self._run
        found = await asyncio.to_thread(_evaluations, run) if run.state is State.SUCCEEDED else []
        if self._state.is_deleted:
            return
        self._state.clear()
        with self._state:
            parts.pill(state_text(run.state), TONES[run.state])
        self._buttons.clear()
        with self._buttons:
            if run.state in ACTIVE:
                self._button(t("Stop"), "stop", self._stop, "color=negative")
            if run.can_resume:
                self._button(t("Go on"), "play_arrow", self._resume, "")
            ui.link(t("Details"), address.run(run.id)).classes("small")
        self._result.clear()
        with self._result:
            if run.failure is not None and run.state not in ACTIVE:
                ui.label(run.failure.message).style("color: var(--bad)")
                if run.failure.hint:
                    ui.label(run.failure.hint).classes("small soft")
            if run.can_resume:
                ui.label(t("It can go on where it stopped.")).classes("small soft")
            for evaluation in found:
                _result_line(evaluation)

    def _button(self, title: str, icon: str, handler: Any, properties: str) -> None:
        button = ui.button(title, icon=icon, on_click=self._context.handle(handler))
        button.props(f"outline dense no-caps {properties}")

    def _stop(self) -> None:
        self._context.platform.queue.stop(self._run)
        ui.notify(t("It stops; what is measured stays."))

    async def _resume(self) -> None:
        queue = self._context.platform.queue
        queue.resume(self._run)
        await asyncio.to_thread(queue.dispatch)


def _result_line(evaluation: Evaluation) -> None:
    with ui.link(target=address.evaluation(key_of(evaluation))).classes("result-line"):
        ui.label(evaluation.task).style("font-weight: 600")
        if not evaluation.scores:
            parts.pill(t("no score"), "bad")
        for metric, entry in list(evaluation.scores.items())[:1]:
            ui.label(f"{metric} {figure(entry.value)} {interval(entry)}").classes("number")
        share = share_without_answer(evaluation)
        if share:
            parts.pill(t("{share} without an answer", share=percent(share)), "warn")


def _tasks_text(recipe: Path) -> str:
    """The tasks of a run, by name."""
    try:
        tasks = read(recipe).values.get("tasks", [])
    except LLMasOSError:
        return ""
    names = [str(task.get("name", "")) if isinstance(task, dict) else Path(str(task)).stem for task in tasks]
    return ", ".join(names)


def _evaluations(run: Run) -> list[Evaluation]:
    """What a run has measured, as far as it is still there."""
    found = []
    for task in run.result.get("tasks", ()):
        try:
            found.append(read_evaluation(Path(task["folder"])))
        except LLMasOSError:
            continue
    return found
