"""The playground in one tab: a conversation with one or two models, its settings, and where it is kept."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

from nicegui import context as nicegui_context
from nicegui import ui

from llmasos.errors import LLMasOSError
from llmasos.i18n import t
from llmasos.settings import get_settings
from llmasos.studio import address
from llmasos.studio.components import parts
from llmasos.studio.components.model_choice import NOBODY, ModelChoice
from llmasos.studio.context import Context, Handler, tell
from llmasos.studio.talk.column import Column
from llmasos.studio.talk.controls import Controls
from llmasos.studio.talk.exports import download_menu, show_code
from llmasos.studio.talk.saved import Side, Talk
from llmasos.studio.talk.shelf import Shelf
from llmasos.studio.talk.store import TalkStore

_SETTINGS_SECONDS = 2.0
"""After this time changed settings are kept, if something was said."""


class Playground:
    """Built into the element that is open.

    Args:
        names: models to choose from.
        model: the one that is chosen at first.
        conversation: id of a saved conversation to go on with.
    """

    def __init__(self, context: Context, names: list[str], model: str | None, conversation: str | None) -> None:
        self._context, self._store = context, TalkStore.of(context)
        self._client = nicegui_context.client
        self._settings_changed = False
        default = get_settings().default_model
        first = default if default in names else names[0]
        with parts.heading(t("Playground")):
            self._small("forum", t("Conversations"), self._open_shelf)
            self._small("add_comment", t("Begin anew"), self._begin_anew)
            self._small("code", t("As code"), lambda: show_code(self._current()))
            download_menu(context, self._current)
        self._name = ui.label().classes("h2 talk-name")
        with parts.card(), ui.element("div").classes("line"):
            nobody = t("nobody")
            self._choices = [
                ModelChoice(context, names, t("Model"), name=first, changed=lambda: self._choose(0)),
                ModelChoice(context, names, t("Beside"), name=NOBODY, nobody=nobody, changed=lambda: self._choose(1)),
            ]
            if model:
                self._choices[0].choose(model)
            self._controls = Controls(self._note_settings)
        self._place = ui.element("div").classes("columns")
        self._columns: list[Column] = []
        with ui.element("div").classes("line say"):
            self._input = ui.textarea(placeholder=t("Message")).props(
                f'outlined autogrow rows=1 aria-label="{t("Message")}"'
            )
            self._input.style("flex: 1").on("keydown.enter.exact.prevent", context.handle(self._send))
            self._button = ui.button(t("Send"), icon="send", on_click=context.handle(self._send))
            self._button.props("unelevated no-caps")
            self._stop = ui.button(t("Stop"), icon="stop", on_click=context.handle(self._cancel))
            self._stop.props("unelevated no-caps color=negative")
        self._outside = ui.element("div")
        with self._outside:
            self._shelf = Shelf(context, self._store, opened=self._open, renamed=self._show_name, gone=self._left)
        self._talk = self._store.new(self._choices[0].name)
        self._show(self._talk)
        self._client.on_disconnect(self._cancel)
        ui.timer(_SETTINGS_SECONDS, context.handle(self._keep_settings))
        if conversation:
            ui.timer(0.0, context.handle(lambda: self._open(conversation)), once=True)

    def _small(self, icon: str, name: str, handler: Handler) -> None:
        ui.button(name, icon=icon, on_click=self._context.handle(handler)).props("flat no-caps dense")

    def _current(self) -> Talk:
        self._talk.settings = self._controls.settings
        return self._talk

    # --- which conversation ------------------------------------------------------------------------------------

    async def _open_shelf(self) -> None:
        with self._outside:
            await self._shelf.open()

    async def _open(self, identifier: str) -> None:
        talk = await asyncio.to_thread(self._store.open, identifier)
        self._cancel()
        self._controls.show(talk.settings)
        self._settings_changed = False
        self._show(talk)
        self._tell_address()

    def _begin_anew(self) -> None:
        self._cancel()
        talk = self._store.new(self._choices[0].name)
        if self._choices[1].name != NOBODY:
            talk.sides.append(Side(self._choices[1].name))
        self._show(talk)
        self._tell_address()

    async def _left(self, identifier: str) -> None:
        """A conversation was deleted; if it is the one on the screen, the screen must not write it again."""
        if identifier == self._talk.id:
            self._begin_anew()

    def _show(self, talk: Talk) -> None:
        self._talk = talk
        for place, choice in enumerate(self._choices):
            side = talk.sides[place] if place < len(talk.sides) else None
            if not choice.choose(side.model if side else NOBODY) and side is not None:
                other = choice.name or self._choices[0].name
                ui.notify(t("{model} is not here any more; {other} goes on.", model=side.model, other=other))
                choice.choose(other)
                side.model = other
        self._place.clear()
        self._columns = []
        for side in talk.sides:
            self._add_column(side)
        self._show_name()
        self._changed()

    def _show_name(self) -> None:
        self._name.text = self._talk.name
        self._name.set_visibility(bool(self._talk.name))

    def _add_column(self, side: Side) -> None:
        talk = self._talk
        with self._place:
            column = Column(
                self._context, side, lambda: self._controls.settings, self._changed, lambda: self._keep(talk)
            )
        self._columns.append(column)

    def _choose(self, place: int) -> None:
        name = self._choices[place].name
        if place < len(self._columns):
            if name == self._columns[place].side.model:
                return
            if name != NOBODY:
                self._columns[place].choose(name)
                return
            self._columns.pop().stop()
            self._talk.sides.pop()
            self._place.default_slot.children[-1].delete()
        elif name != NOBODY:
            side = Side(name)
            self._talk.sides.append(side)
            self._add_column(side)

    # --- keeping -----------------------------------------------------------------------------------------------

    async def _keep(self, talk: Talk) -> None:
        """Save a conversation; an answer goes on if that fails, and the person is told."""
        if talk.is_empty:
            return
        talk.name_itself()
        talk.changed = datetime.now(UTC)
        if talk is self._talk:
            talk.settings = self._controls.settings
            self._settings_changed = False
            self._show_name()
            self._tell_address()
        try:
            await asyncio.to_thread(self._store.save, talk)
        except LLMasOSError as error:
            with self._outside:
                tell(error)

    def _note_settings(self) -> None:
        self._settings_changed = True

    async def _keep_settings(self) -> None:
        if self._settings_changed and self._controls.settings != self._talk.settings:
            await self._keep(self._talk)
        self._settings_changed = False

    def _tell_address(self) -> None:
        """Let the browser's address be that of the conversation, so that a reload shows it again."""
        shown = address.ROOT + (address.playground() if self._talk.is_empty else address.conversation(self._talk.id))
        self._client.run_javascript(
            f"if (location.pathname + location.search !== {json.dumps(shown)}) "
            f"history.replaceState(history.state, '', {json.dumps(shown)})"
        )

    # --- saying ------------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        text = (self._input.value or "").strip()
        if not text or any(column.busy for column in self._columns):
            return
        self._controls.settings.grammar()  # refused before anything is cleared
        self._input.value = ""
        found = await asyncio.gather(*(column.say(text) for column in self._columns), return_exceptions=True)
        for error in found:
            if isinstance(error, BaseException):
                raise error

    def _cancel(self) -> None:
        for column in self._columns:
            column.stop()

    def _changed(self) -> None:
        busy = any(column.busy for column in self._columns)
        self._stop.set_visibility(busy)
        self._button.set_visibility(not busy)
