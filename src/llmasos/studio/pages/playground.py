"""The playground: conversations with models in service, one or two beside each other."""

from __future__ import annotations

import asyncio

from nicegui import context as nicegui_context
from nicegui import ui

from llmasos.i18n import t
from llmasos.settings import get_settings
from llmasos.studio import address
from llmasos.studio.components import parts
from llmasos.studio.context import Context, Handler
from llmasos.studio.page import Page
from llmasos.studio.talk import code
from llmasos.studio.talk.column import Column
from llmasos.studio.talk.settings import FORMS, TalkSettings

_NOBODY = ""


def build(context: Context, model: str | None = None) -> None:
    """The page, with a model chosen."""
    names = [
        item.name
        for item in context.platform.service.names.listing()
        if item.row is None or item.row.task_family in (None, "causal")
    ]
    if names:
        _Playground(context, names, model)
        return
    with parts.heading(t("Playground")):
        pass
    with parts.empty("forum", t("There is no model to talk to."), t("Download one first; a small one will do.")):
        ui.link(t("To the models"), address.models())


class _Playground:
    """In one tab."""

    def __init__(self, context: Context, names: list[str], model: str | None) -> None:
        self._context = context
        default = get_settings().default_model
        chosen = next((name for name in (model, default) if name in names), names[0])
        with parts.heading(t("Playground")):
            self._small("code", t("As code"), self._show_code)
            self._small("delete_sweep", t("Begin anew"), self._clear)
        with parts.card(), ui.element("div").classes("line"):
            first = ui.select(names, value=chosen, label=t("Model")).props("outlined dense").style("min-width: 220px")
            nobody = {_NOBODY: t("nobody"), **{name: name for name in names}}
            second = ui.select(nobody, value=_NOBODY, label=t("Beside")).props("outlined dense")
            second.style("min-width: 220px")
            self._controls()
        with ui.element("div").classes("columns") as self._columns_place:
            self._columns = [Column(context, chosen, self._settings, self._changed)]
        first.on_value_change(context.handle(lambda: self._choose(0, first.value)))
        second.on_value_change(context.handle(lambda: self._choose(1, second.value)))
        with ui.element("div").classes("line say"):
            self._input = ui.textarea(placeholder=t("Message")).props(
                f'outlined autogrow rows=1 aria-label="{t("Message")}"'
            )
            self._input.style("flex: 1").on("keydown.enter.exact.prevent", context.handle(self._send))
            self._button = ui.button(t("Send"), icon="send", on_click=context.handle(self._send))
            self._button.props("unelevated no-caps")
            self._stop = ui.button(t("Stop"), icon="stop", on_click=context.handle(self._cancel))
            self._stop.props("unelevated no-caps color=negative")
        self._changed()
        nicegui_context.client.on_disconnect(self._cancel)

    def _small(self, icon: str, name: str, handler: Handler) -> None:
        ui.button(name, icon=icon, on_click=self._context.handle(handler)).props("flat no-caps dense")

    def _controls(self) -> None:
        with ui.expansion(t("Settings")).classes("w-full").style("width: 100%"), ui.element("div").classes("line"):
            self._system = ui.textarea(t("System prompt")).props("outlined dense autogrow rows=1")
            self._system.style("flex: 1; min-width: 240px")
            self._temperature = ui.number(t("Temperature"), value=0.7, min=0, max=5, step=0.1)
            self._top_p = ui.number("Top-p", value=1.0, min=0.01, max=1, step=0.05)
            self._limit = ui.number(t("Most tokens"), value=512, min=1, max=1_000_000, step=1)
            self._seed = ui.number(t("Seed"), min=0, step=1)
            for control in (self._temperature, self._top_p, self._limit, self._seed):
                control.props("outlined dense").style("width: 120px")
            titles = dict(zip(FORMS, (t("Text"), "JSON", t("JSON schema"), t("Regular expression")), strict=True))
            self._form = ui.select(titles, value="text", label=t("Form of the answer")).props("outlined dense")
            self._form.style("min-width: 180px")
            self._source = ui.textarea(t("Schema or pattern")).props("outlined dense autogrow rows=1")
            self._source.style("flex: 1; min-width: 240px").bind_visibility_from(
                self._form, "value", lambda form: form in ("json_schema", "regex")
            )
            self._probabilities = ui.checkbox(t("Probabilities of tokens")).props(
                f'aria-label="{t("Probabilities of tokens")}"'
            )

    def _settings(self) -> TalkSettings:
        """What the controls say; an emptied one stands for its default."""
        default = TalkSettings()
        seed = self._seed.value
        return TalkSettings(
            system=self._system.value or "",
            temperature=default.temperature if self._temperature.value is None else float(self._temperature.value),
            top_p=float(self._top_p.value or default.top_p), max_tokens=int(self._limit.value or default.max_tokens),
            seed=None if seed is None else int(seed), form=self._form.value, source=self._source.value or "",
            probabilities=bool(self._probabilities.value),
        )  # fmt: skip

    def _choose(self, place: int, name: str) -> None:
        if place < len(self._columns):
            if name != _NOBODY:
                self._columns[place].model = name
                return
            self._columns.pop().stop()
            self._columns_place.default_slot.children[-1].delete()
        elif name != _NOBODY:
            with self._columns_place:
                self._columns.append(Column(self._context, name, self._settings, self._changed))

    async def _send(self) -> None:
        text = (self._input.value or "").strip()
        if not text or any(column.busy for column in self._columns):
            return
        self._settings().grammar()  # refused before anything is cleared
        self._input.value = ""
        found = await asyncio.gather(*(column.say(text) for column in self._columns), return_exceptions=True)
        for error in found:
            if isinstance(error, BaseException):
                raise error

    def _cancel(self) -> None:
        for column in self._columns:
            column.stop()

    def _clear(self) -> None:
        for column in self._columns:
            column.clear()

    def _changed(self) -> None:
        busy = any(column.busy for column in self._columns)
        self._stop.set_visibility(busy)
        self._button.set_visibility(not busy)

    async def _show_code(self) -> None:
        server = await ui.run_javascript("location.origin")
        column = self._columns[0]
        path = list(column.conversation.path())
        while path and path[-1].role == "assistant":
            path.pop()
        said = column.conversation.messages_to(path[-1]) if path else [{"role": "user", "content": t("Hello")}]
        settings = self._settings()
        programs = (
            ("Python", "python", code.python(server, column.model, said, settings)),
            ("curl", "bash", code.curl(server, column.model, said, settings)),
            ("JavaScript", "javascript", code.javascript(server, column.model, said, settings)),
        )
        with ui.dialog() as dialog, parts.sheet():
            with ui.tabs() as tabs:
                entries = [ui.tab(name) for name, _, _ in programs]
            with ui.tab_panels(tabs, value=entries[0]).classes("w-full"):
                for entry, (_, language, text) in zip(entries, programs, strict=True):
                    with ui.tab_panel(entry):
                        parts.code(text, language)
            ui.button(t("Close"), on_click=dialog.close).props("flat no-caps")
        dialog.open()


PAGE = Page("/playground", lambda: t("Playground"), "forum", build)
