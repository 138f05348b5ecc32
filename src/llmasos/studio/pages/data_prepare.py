"""Preparing data: the recipe as a form and as YAML, what its steps do to the first rows, and the run."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

from nicegui import ui
from pydantic import TypeAdapter, ValidationError

from llmasos.data.queueing import queue_preparation
from llmasos.data.recipe import DataRecipe
from llmasos.data.sources.layout import Layout
from llmasos.data.trial import Trial, try_steps
from llmasos.errors import LLMasOSError
from llmasos.i18n import t
from llmasos.recipe import loading
from llmasos.recipe.document import parse
from llmasos.sdk import open_tokenizer_folder
from llmasos.studio import address, uploads
from llmasos.studio.components import parts
from llmasos.studio.context import Context
from llmasos.studio.datasets.origin import Origin
from llmasos.studio.datasets.reach import check_reach
from llmasos.studio.datasets.reading import reading
from llmasos.studio.datasets.report import show_trial
from llmasos.studio.datasets.steps_card import StepsCard
from llmasos.studio.page import Page
from llmasos.studio.recipes.editor import RecipeEditor

_TRIED = 500
_FEATURED = ("name", "steps", "split", "tokens")
_USUAL_STEPS = ("repair_unicode", "clean_whitespace", "exact_duplicates")


def build(context: Context, data: str = "", layout: str = "") -> None:
    """The page, for ``data`` whose records have the layout that is given as JSON."""
    _Preparation(context, Origin(data) if data else None, _given_layout(layout))


def _given_layout(text: str) -> Layout | None:
    """A layout from an address, which anybody may have written."""
    if not text:
        return None
    try:
        found: Layout = TypeAdapter(Layout).validate_python(json.loads(text))
    except (ValueError, ValidationError):
        return None
    return found


class _Preparation:
    """In one tab."""

    def __init__(self, context: Context, origin: Origin | None, layout: Layout | None) -> None:
        self._context = context
        self._folder = uploads.folder(context.platform.library)
        title = t("Prepare {name}", name=origin.title) if origin is not None else t("Prepare data")
        with parts.heading(title, t("Read, clean, filter, divide. The originals stay as they are.")):
            ui.button(t("Start"), icon="play_arrow", on_click=context.handle(self._start)).props("unelevated no-caps")
        with parts.card():
            with ui.element("div").classes("line apart"):
                parts.title_line(2, t("Steps"))
                self._button = ui.button(
                    t("Try on the first {count} rows", count=_TRIED), icon="science", on_click=context.handle(self._try)
                ).props("flat no-caps")
            self._steps = StepsCard(context)
            self._note = ui.label("").classes("small soft").props("aria-live=polite")
            self._place = ui.element("div").classes("w-full")
        with parts.card():
            parts.title_line(2, t("Recipe"))
            self._editor = RecipeEditor(context, "data", _first_values(origin, layout), featured=_FEATURED,
                                        on_change=self._changed)  # fmt: skip
        self._steps.editor = self._editor
        self._steps.show()
        if origin is not None:
            ui.timer(0.1, context.handle(self._try), once=True)

    def _recipe(self) -> DataRecipe:
        """What is written; raises with all problems if it is not valid, and if it reads what is not for who asks."""
        recipe = loading.check(parse(self._editor.text, "YAML"), DataRecipe)
        check_reach(self._context, recipe)
        return recipe

    def _changed(self) -> None:
        self._steps.show()
        if self._place.default_slot.children:
            self._place.clear()
            self._note.text = t("The recipe has changed since. Try it again.")

    async def _try(self) -> None:
        self._steps.show()
        recipe, text = self._recipe(), self._editor.text
        library = self._context.platform.library
        self._button.set_enabled(False)
        self._note.text = t("The first rows go through the steps.")
        open_model = partial(open_tokenizer_folder, library=library)
        found: Trial | LLMasOSError
        try:
            found = await reading(try_steps, recipe, folder=self._folder, open_model=open_model, most=_TRIED)
        except LLMasOSError as error:
            found = error
        if self._place.is_deleted:
            return
        self._button.set_enabled(True)
        self._place.clear()
        with self._place:
            if isinstance(found, LLMasOSError):
                self._note.text = ""
                ui.label(found.message).classes("wrong").style("white-space: pre-wrap")
                ui.label(found.hint or "").classes("small soft")
                return
            self._note.text = (
                t("These are all rows.") if found.complete
                else t("Of the first {count} rows of each source. Among all rows, there may be more duplicates.",
                       count=_TRIED)
            )  # fmt: skip
            with ui.expansion(t("Every step, with examples")).classes("w-full"):
                show_trial(found)
        if text == self._editor.text:
            self._steps.show(found.accounts)
        else:
            self._changed()

    def _start(self) -> None:
        run = queue_preparation(self._recipe(), self._folder, library=self._context.platform.library)
        ui.navigate.to(address.run(run.id))


def _first_values(origin: Origin | None, layout: Layout | None) -> dict[str, Any]:
    stem = origin.title.split(".")[0].split("/")[-1].split(":")[0] if origin is not None else ""
    name = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-") or "data"
    return {
        "name": f"my/{name}",
        "sources": [origin.entry(layout)] if origin is not None else [],
        "steps": [{"step": step} for step in _USUAL_STEPS],
        "split": {"parts": {"validation": 0.1}},
    }


PAGE = Page("/data/prepare", lambda: t("Prepare data"), "dataset", build, section="/data")
