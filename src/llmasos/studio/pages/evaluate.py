"""Evaluate: choose models and tasks, start, and see how far it is."""

from __future__ import annotations

import asyncio
from typing import Any

from nicegui import ui

from llmasos.errors import InvalidRequest
from llmasos.evaluation.backends.open import abilities_of
from llmasos.evaluation.prepare import check_abilities
from llmasos.i18n import t
from llmasos.library.version import VersionRow
from llmasos.modeling.folder import Family
from llmasos.sdk_evaluation import evaluate_in_background
from llmasos.settings import get_settings
from llmasos.studio import address
from llmasos.studio.components import parts
from llmasos.studio.components.labelled import labelled
from llmasos.studio.context import Context
from llmasos.studio.evaluation.choices import Choices
from llmasos.studio.evaluation.sections import section_links
from llmasos.studio.evaluation.task_list import TaskList
from llmasos.studio.evaluation.tasks import Offer, to_fetch
from llmasos.studio.evaluation.work import EvaluationRuns
from llmasos.studio.page import Page

_MEASURED = (None, Family.CAUSAL.value, Family.SEQ2SEQ.value, Family.CLASSIFIER.value)


def build(context: Context, model: str | None = None) -> None:
    """The page, with a model chosen."""
    with parts.heading(t("Evaluate"), t("How good is a model? Scores with intervals, and every sample to look at.")):
        pass
    section_links(address.evaluate())
    models = _models(context)
    if not models:
        with parts.empty("leaderboard", t("There is no model to measure."),
                         t("Download one first; a small one will do.")):  # fmt: skip
            ui.link(t("To the models"), address.models())
    else:
        _Form(context, models, model)
    parts.title_line(2, t("Evaluations"))
    EvaluationRuns(context)


def _models(context: Context) -> dict[str, VersionRow]:
    """The models of the library that answer or label texts, the newest first."""
    return {
        name: row
        for row in context.platform.library.versions()
        if row.kind in ("model", "adapter") and row.task_family in _MEASURED
        for name in row.names
    }


class _Form:
    """What is to be measured."""

    def __init__(self, context: Context, models: dict[str, VersionRow], model: str | None) -> None:
        self._context, self._models = context, models
        names = list(models)
        wanted = next((name for name in (model, get_settings().default_model) if name in models), names[0])
        with parts.card():
            parts.title_line(2, t("Models"))
            self._chosen = ui.select(names, value=[wanted], multiple=True, label=t("Models to measure"))
            self._chosen.props("outlined dense use-chips").on_value_change(context.handle(self._show_sum))
            if model is not None and model not in models:
                ui.label(t("{name} is no model here that can be measured", name=model)).style("color: var(--warn)")
        with parts.card():
            parts.title_line(2, t("Tasks"))
            self._tasks = TaskList(context, lambda: self._choices.options, self._show_sum)
        with parts.card():
            parts.title_line(2, t("Data and settings"))
            self._choices = Choices(context, self._show_sum)
            with ui.element("div").classes("line"):
                self._start = ui.button(t("Start"), icon="play_arrow", on_click=context.handle(self._begin))
                self._start.props("unelevated no-caps color=primary").style("align-self: center")
                self._sum = ui.label("").classes("small soft").props("aria-live=polite")
        self._show_sum()

    def _show_sum(self) -> None:
        tasks = self._tasks.chosen
        self._choices.fit(tasks)
        self._start.set_enabled(bool(self._chosen.value and tasks))
        names = ", ".join(offer.name for offer in tasks)
        self._sum.text = (
            t("{models} on {tasks}", models=", ".join(self._chosen.value or []) or t("no model"), tasks=names)
            if tasks else t("Choose a task.")
        )  # fmt: skip

    async def _begin(self) -> None:
        tasks, models = self._tasks.chosen, list(self._chosen.value or [])
        if not tasks or not models:
            raise InvalidRequest(t("a model and a task are needed"), hint=t("Choose a model and a task."))
        checked = await asyncio.to_thread(self._choices.checked, tasks)
        for name in models:
            self._check_fit(name, tasks)
        options = self._choices.options
        missing = await asyncio.to_thread(lambda: [entry for offer in tasks for entry in to_fetch(offer, options)])
        recipes = [
            {"kind": "evaluate", "model": name, "tasks": [offer.reference for offer in tasks], **checked}
            for name in models
        ]  # fmt: skip
        if missing:
            self._ask_to_fetch(missing, recipes)
        else:
            await self._queue(recipes)

    def _check_fit(self, name: str, tasks: list[Offer]) -> None:
        """Refuse tasks that the model cannot do. What an adapter can do its base decides, which the run looks at."""
        family = self._models[name].task_family
        if family is None:
            return
        for offer in tasks:
            check_abilities(offer.found.task, name, abilities_of(Family(family)))

    def _ask_to_fetch(self, missing: list[str], recipes: list[dict[str, Any]]) -> None:
        with labelled(ui.dialog(), t("Data is to be fetched")) as dialog, parts.sheet():
            parts.title_line(2, t("Data is to be fetched"))
            ui.label(t("These files are not on this machine; the run fetches them first, once. Without network, put "
                       "them into a folder and name it.")).classes("small soft")  # fmt: skip
            for entry in missing:
                ui.label(entry).classes("mono")

            async def go() -> None:
                dialog.close()
                await self._queue(recipes)

            with ui.element("div").classes("line"):
                ui.button(t("Fetch and start"), on_click=self._context.handle(go)).props("unelevated no-caps")
                ui.button(t("Cancel"), on_click=dialog.close).props("flat no-caps")
        dialog.open()

    async def _queue(self, recipes: list[dict[str, Any]]) -> None:
        library = self._context.platform.library
        for recipe in recipes:
            await asyncio.to_thread(evaluate_in_background, recipe, library=library, fetch=False)
        ui.notify(t("It is begun, and goes on when this page is closed."), type="positive")


PAGE = Page("/evaluate", lambda: t("Evaluate"), "leaderboard", build)
