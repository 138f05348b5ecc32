"""Training: goal, model, data, method, check, start; the recipe is in sight all the time."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from nicegui import ui

from llmasos.errors import NotFound
from llmasos.i18n import t
from llmasos.library.store import Library
from llmasos.modeling.finding import as_folder
from llmasos.recipe import loading
from llmasos.recipe.document import parse
from llmasos.runs.run import Run
from llmasos.studio import address, uploads
from llmasos.studio.components import parts
from llmasos.studio.context import Context
from llmasos.studio.datasets.origin import Origin
from llmasos.studio.page import Page
from llmasos.studio.recipes import rows
from llmasos.studio.recipes.editor import RecipeEditor
from llmasos.studio.recipes.yaml_text import assigned, dump
from llmasos.studio.training import goals
from llmasos.studio.training.checking import Checking
from llmasos.studio.training.data_choice import DataChoice, Entry
from llmasos.studio.training.method_choice import MethodChoice
from llmasos.studio.training.model_choice import ModelChoice, first_model
from llmasos.studio.training.reach import check_training_reach
from llmasos.training.launch import queue_training, require_packages, with_date
from llmasos.training.preflight.report import Report
from llmasos.training.recipe.kinds import KINDS, TrainingRecipe
from llmasos.training.recipe.models import BaseModelSource
from llmasos.training.recipe.paths import with_absolute_paths

_FEATURED = (
    "trainer.epochs", "trainer.steps", "trainer.batch_size", "method.learning_rate", "method.rank", "method.tokens",
    "method.last_layers", "data.validation_share", "data.rendering.max_length", "output.name",
)  # fmt: skip


def build(context: Context, goal: str = "", model: str = "", data: str = "") -> None:
    """The page, with a goal (kind of recipe), a model and data chosen."""
    library = context.platform.library
    if goal not in KINDS:
        family = library.resolve(model).metadata.task_family if model and library.has(model) else None
        goal = goals.kind_for(family) or "classify"
    _Training(context, goal, model or None, Origin(data) if data else None)


class _Training:
    """In one tab."""

    def __init__(self, context: Context, kind: str, model: str | None, origin: Origin | None) -> None:
        self._context, self._kind = context, kind
        self._wanted_model, self._origin = model, origin
        with parts.heading(t("Train"), t("Your data teach a model. Nothing starts before you say so.")):
            pass
        parts.title_line(2, t("What for?"))
        self._goals: dict[str, ui.element] = {}
        with ui.element("div").classes("choices"):
            for goal in goals.goals():
                with ui.element("button").classes("choice").props("type=button") as button:
                    ui.icon(goal.icon, size="24px").props("aria-hidden=true").style("color: var(--accent)")
                    ui.label(goal.title).classes("h3")
                    ui.label(goal.explanation).classes("small soft")
                button.on("click", context.handle(lambda goal=goal: self._choose_goal(goal.kind)))
                self._goals[goal.kind] = button
        self._place = ui.element("div").classes("talk")
        self._method: MethodChoice | None = None
        self._checking: Checking | None = None
        self._show()

    def _choose_goal(self, kind: str) -> None:
        if kind == self._kind:
            return
        entry = rows.at(self._editor.shown, ("data", "train", 0))
        self._kind = kind
        if isinstance(entry, dict):
            self._origin = goals.origin_of(entry)
        self._show()

    def _show(self) -> None:
        """The controls for the goal, with a recipe to begin with."""
        for kind, button in self._goals.items():
            button.props(f"aria-pressed={'true' if kind == self._kind else 'false'}")
        if self._method is not None:
            self._method.close()
        self._checking = None  # until everything is there, nothing follows
        library = self._context.platform.library
        values = goals.first_values(
            self._kind, model=first_model(library, self._kind, self._wanted_model), entry=None,
            title=self._origin.title if self._origin is not None else "",
        )  # fmt: skip
        self._place.clear()
        with self._place:
            with parts.card():
                self._editor = RecipeEditor(self._context, self._kind, values, featured=_FEATURED,
                                            on_change=self._changed)  # fmt: skip
                with self._editor.front:
                    parts.title_line(2, t("Model"))
                    self._model = ModelChoice(self._context, self._kind, self._put_model)
                    parts.title_line(2, t("Data"))
                    self._data = DataChoice(self._context, self._kind, self._put_data)
                    parts.title_line(2, t("Method"))
                    self._method = MethodChoice(self._context, self._kind, self._put_method, self._with_method)
                    parts.title_line(2, t("Settings"))
            with parts.card():
                with ui.element("div").classes("line apart"):
                    parts.title_line(2, t("Check and start"))
                    with ui.element("div").classes("line").style("width: auto"):
                        ui.button(t("Check"), icon="fact_check", on_click=self._context.handle(self._check)).props(
                            "outline no-caps"
                        )
                        ui.button(t("Start"), icon="play_arrow", on_click=self._context.handle(self._start)).props(
                            "unelevated no-caps"
                        )
                self._checking = Checking(self._context, self._recipe, lambda: self._editor.text)
        if self._origin is not None:
            self._data.choose(self._origin)
        self._changed()

    def _put_model(self, model: Any) -> None:
        changes: dict[str, Any] = {"model": model}
        if isinstance(model, dict):  # random weights are trained whole
            changes["method"] = {"kind": "full"}
        self._editor.put(changes)

    def _put_data(self, entry: Entry, held_out: Entry | None, title: str) -> None:
        changes: dict[str, Any] = {"data.train": [entry]}
        if held_out is not None:
            changes |= {"data.validation_share": None, "data.validation": [held_out]}
        elif rows.at(self._editor.shown, ("data", "validation")):
            changes |= {"data.validation": None, "data.validation_share": 0.1}
        if rows.at(self._editor.shown, ("output", "name")) in (None, goals.result_name(self._kind, "")):
            changes["output.name"] = goals.result_name(self._kind, title)
        self._editor.put(changes)

    def _put_method(self, method: str) -> None:
        self._editor.put({"method": {"kind": method}})

    def _changed(self) -> None:
        if self._checking is None or self._method is None:
            return
        shown = self._editor.shown
        self._model.follow(shown.get("model"))
        self._data.follow(rows.at(shown, ("data", "train", 0)))
        method = self._editor.kind_at("method")
        self._method.follow(method, scratch=rows.at(shown, ("model", "start")) == "preset")
        if not self._editor.problems():
            self._method.estimate(dump(assigned(self._editor.values(), ("method",), None)))
        self._checking.changed()

    def _recipe(self) -> TrainingRecipe:
        """What is written, with absolute paths; raises what is wrong with it, or not allowed."""
        return self._checked_recipe(self._editor.text)

    def _with_method(self, method: str) -> TrainingRecipe:
        return self._checked_recipe(dump(assigned(self._editor.values(), ("method",), {"kind": method})))

    def _checked_recipe(self, text: str) -> TrainingRecipe:
        checked = loading.check(parse(text, "YAML"), KINDS[self._kind])
        folder = uploads.folder(self._context.platform.library)
        recipe = cast(TrainingRecipe, with_absolute_paths(checked, folder))
        check_training_reach(self._context, recipe)
        return recipe

    async def _check(self) -> Report | None:
        assert self._method is not None and self._checking is not None
        self._method.close()  # one at a time: this one is waited for
        try:
            return await self._checking.check()
        finally:
            if not self._place.is_deleted:
                self._changed()

    async def _start(self) -> None:
        assert self._checking is not None
        report = self._checking.report or await self._check()
        if report is None:
            return
        if not report.valid:
            ui.notify(t("Solve the problems first."), type="negative")
            return
        run = await asyncio.to_thread(_start, self._recipe(), self._context.platform.library)
        ui.navigate.to(address.run(run.id))


def _start(recipe: TrainingRecipe, library: Library) -> Run:
    """Queue the training.

    Raises:
        NotFound: its model is not here: a download, with its licence, belongs to the page of models.
    """
    require_packages()
    if isinstance(recipe.model, BaseModelSource):
        name = recipe.model.reference
        if as_folder(name) is None and not library.has(name):
            raise NotFound(t("{model} is not in the library", model=name), hint=t("Download it on the page Models."))
    return queue_training(with_date(recipe), library=library)


PAGE = Page("/train", lambda: t("Train"), "model_training", build)
