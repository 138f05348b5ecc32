"""Choosing tasks: searched, filtered, each with what it measures and what it needs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nicegui import ui

from llmasos.errors import LLMasOSError
from llmasos.evaluation.options import RunOptions
from llmasos.evaluation.task import PromptedTask
from llmasos.evaluation.tasks.own import save_task
from llmasos.i18n import t
from llmasos.studio.components import parts
from llmasos.studio.components.confirm import confirm
from llmasos.studio.context import Context
from llmasos.studio.evaluation.tasks import LANGUAGES, Offer, kind_names, language_name, offers, to_fetch

_EVERY = ""
_EXAMPLE = """\
name: my-questions
kind: generation
title: My questions
description: What customers ask, with the answer that is right.
language: en
data:
  splits:
    test: {path: my-questions.jsonl}
prompt: "{{question}}"
references: "{{answer}}"
match: normalized
generation: {max_tokens: 64}
"""


class TaskList:
    """In the element that is open.

    Args:
        options: the choices of the run, which decide what data is needed.
        changed: called when other tasks are chosen.
    """

    def __init__(self, context: Context, options: Callable[[], RunOptions], changed: Callable[[], None]) -> None:
        self._context, self._options, self._changed = context, options, changed
        self._chosen: dict[str, Offer] = {}
        self._rows: list[tuple[Offer, ui.element]] = []
        show = context.handle(self._filter)
        kinds: dict[str, str] = {_EVERY: t("all kinds")} | {str(kind): name for kind, name in kind_names().items()}
        languages = {_EVERY: t("all languages"), **{code: language_name(code) for code in LANGUAGES}}
        with ui.element("div").classes("line"):
            self._text = ui.input(placeholder=t("Search tasks"), on_change=show).props(
                f'outlined dense clearable debounce=200 aria-label="{t("Search tasks")}"'
            )
            self._kind = ui.select(kinds, value=_EVERY, label=t("Kind"), on_change=show).props("outlined dense")
            self._language = ui.select(languages, value=_EVERY, label=t("Language"), on_change=show)
            self._language.props("outlined dense")
            for control in (self._kind, self._language):
                control.style("min-width: 170px")
            if context.visitor.is_admin:  # a task can read every file of the machine
                add = context.handle(self._add, admin=True)
                ui.button(t("Add a task of your own"), icon="add", on_click=add).props("flat no-caps")
        self._place = ui.element("div").classes("task-list").props(f'role=group aria-label="{t("Tasks")}" tabindex=0')
        self._nothing = ui.label(t("No task is like that.")).classes("soft")
        self._nothing.set_visibility(False)
        ui.timer(0, context.handle(self._fill), once=True)

    @property
    def chosen(self) -> list[Offer]:
        """The tasks that are ticked, by name."""
        return [self._chosen[reference] for reference in sorted(self._chosen)]

    async def _fill(self) -> None:
        found, problems = await asyncio.to_thread(offers)
        if self._place.is_deleted:
            return
        known = {offer.reference for offer in found}
        self._chosen = {reference: offer for reference, offer in self._chosen.items() if reference in known}
        self._place.clear()
        self._rows = []
        with self._place:
            for problem in problems:
                ui.label(problem).classes("small").style("color: var(--bad); white-space: pre-wrap")
            for offer in found:
                self._rows.append((offer, self._row(offer)))
        self._filter()
        self._changed()

    def _row(self, offer: Offer) -> ui.element:
        task = offer.found.task
        with ui.element("div").classes("task-row") as row:
            box = ui.checkbox(offer.title, value=offer.reference in self._chosen)
            box.on_value_change(self._context.handle(lambda: self._tick(offer, box.value)))
            with ui.element("div").classes("task-about"):
                if offer.description:
                    ui.label(offer.description).classes("small soft")
                with ui.element("div").classes("line tight"):
                    if offer.title != offer.name:
                        ui.label(offer.name).classes("mono soft")
                    if offer.file is not None:
                        parts.pill(t("your own"), "alive")
                    parts.pill(kind_names()[task.kind])
                    if task.language:
                        parts.pill(language_name(task.language))
                    if offer.license:
                        parts.pill(offer.license)
                    if offer.has_sample:
                        parts.pill(t("sample built in"), "good")
            about = ui.button(icon="info", on_click=self._context.handle(lambda: self._tell(offer)))
            about.props("flat round dense")
            about.props["aria-label"] = t("About {name}", name=offer.name)
        return row

    def _tick(self, offer: Offer, on: bool) -> None:
        if on:
            self._chosen[offer.reference] = offer
        else:
            self._chosen.pop(offer.reference, None)
        self._changed()

    def _filter(self) -> None:
        text = (self._text.value or "").strip().lower()
        shown = 0
        for offer, row in self._rows:
            here = offer.matches(text, self._kind.value or None, self._language.value or None)
            row.set_visibility(here)
            shown += here
        self._nothing.set_visibility(bool(self._rows) and not shown)

    async def _tell(self, offer: Offer) -> None:
        """What a task measures, and what it needs."""
        task = offer.found.task
        missing = await asyncio.to_thread(to_fetch, offer, self._options())
        with ui.dialog() as dialog, parts.sheet():
            parts.title_line(2, offer.title)
            if offer.description:
                ui.label(offer.description)
            examples = task.few_shot.count if isinstance(task, PromptedTask) else None
            parts.facts([
                (t("Task"), offer.name), (t("Kind"), kind_names()[task.kind]),
                (t("Language"), language_name(task.language)),
                (t("Metrics"), ", ".join(use.name for use in task.metric_uses)),
                (t("Solved examples"), examples),
                (t("Prompt"), task.prompt if isinstance(task, PromptedTask) else None),
                (t("Licence of the data"), offer.license or t("unknown")),
                (t("Described at"), task.data.homepage), (t("Paper"), task.data.citation),
                (t("File"), offer.file),
            ])  # fmt: skip
            if self._options().sample and offer.has_sample:
                ui.label(t("With the built-in sample nothing is fetched.")).classes("soft")
            elif missing:
                ui.label(t("To be fetched, or put into the folder with the data:")).classes("soft")
                for entry in missing:
                    ui.label(entry).classes("mono")
            else:
                ui.label(t("Its data is on this machine.")).classes("soft")
            with ui.element("div").classes("line"):
                ui.button(t("Close"), on_click=dialog.close).props("flat no-caps")
                if offer.file is not None and self._context.visitor.is_admin:
                    remove = self._context.handle(lambda: self._ask_removal(offer, dialog.close), admin=True)
                    ui.button(t("Remove"), color="negative", on_click=remove).props("flat no-caps")
        dialog.open()

    def _ask_removal(self, offer: Offer, close: Callable[[], object]) -> None:
        assert offer.file is not None
        path = offer.file

        async def remove() -> None:
            path.unlink(missing_ok=True)
            close()
            await self._fill()

        confirm(
            self._context, t("Remove {name}?", name=offer.name),
            t("Its file goes; what was measured with it stays. This cannot be undone."), t("Remove"), remove,
            admin=True,
        )  # fmt: skip

    def _add(self) -> None:
        with ui.dialog() as dialog, parts.sheet().style("width: min(720px, 92vw)"):
            parts.title_line(2, t("A task of your own"))
            ui.label(t("A task is a few lines of YAML: where the rows are, what is asked, what is right. Relative "
                       "paths start from the folder `tasks` of the home folder.")).classes("small soft")  # fmt: skip
            text = ui.textarea(t("The task as YAML"), value=_EXAMPLE).props('outlined rows=14 input-class="mono"')
            text.style("width: 100%")
            problem = ui.label("").style("color: var(--bad); white-space: pre-wrap").props("role=alert")

            async def save() -> None:
                problem.text = ""
                try:
                    path, found = await asyncio.to_thread(save_task, text.value or "")
                except LLMasOSError as error:
                    problem.text = f"{error.message}\n{error.hint or ''}".strip()
                    return
                offer = Offer(found, path)
                self._chosen[offer.reference] = offer
                dialog.close()
                await self._fill()

            with ui.element("div").classes("line"):
                ui.button(t("Save"), on_click=self._context.handle(save, admin=True)).props("unelevated no-caps")
                ui.button(t("Cancel"), on_click=dialog.close).props("flat no-caps")
        dialog.open()
