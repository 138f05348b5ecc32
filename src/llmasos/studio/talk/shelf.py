"""The list of saved conversations: open, rename, delete."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from nicegui import ui

from llmasos.i18n import t
from llmasos.studio.components import parts
from llmasos.studio.components.confirm import confirm
from llmasos.studio.components.labelled import labelled
from llmasos.studio.context import Context
from llmasos.studio.talk.store import Entry, TalkStore

_SHOWN = 100


class Shelf:
    """A dialog.

    Args:
        opened: called with the id of the conversation to show.
        renamed: called after one was given another name.
        gone: called with the id of one that was deleted.
    """

    def __init__(
        self, context: Context, store: TalkStore, *, opened: Callable[[str], Awaitable[None]],
        renamed: Callable[[], None], gone: Callable[[str], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._context, self._store = context, store
        self._opened, self._renamed, self._gone = opened, renamed, gone
        self._entries: list[Entry] = []
        self._outside = ui.element("div")
        """Where further dialogs live: the lines of the list come and go."""
        with labelled(ui.dialog(), t("Conversations")) as self._dialog, parts.sheet().classes("shelf"):
            parts.title_line(2, t("Conversations"))
            self._wanted = ui.input(t("Search")).props("outlined dense clearable").classes("w-full")
            self._wanted.on_value_change(context.handle(self._draw))
            self._place = ui.element("div").classes("talk")
            ui.button(t("Close"), on_click=self._dialog.close).props("flat no-caps")

    async def open(self) -> None:
        """Show what there is now."""
        await self._read()
        self._dialog.open()

    async def _read(self) -> None:
        self._entries = await asyncio.to_thread(self._store.entries)
        self._draw()

    def _draw(self) -> None:
        wanted = (self._wanted.value or "").casefold()
        found = [item for item in self._entries if wanted in f"{item.name} {' '.join(item.models)}".casefold()]
        self._place.clear()
        with self._place:
            if not self._entries:
                ui.label(t("None yet: what is said is saved by itself.")).classes("soft")
            elif not found:
                ui.label(t("No conversation matches.")).classes("soft")
            for item in found[:_SHOWN]:
                self._one(item)
            if len(found) > _SHOWN:
                ui.label(t("{count} more: search for them.", count=len(found) - _SHOWN)).classes("small soft")

    def _one(self, item: Entry) -> None:
        when = item.changed.astimezone().strftime("%Y-%m-%d %H:%M")
        with ui.element("div").classes("line apart shelf-line"):
            if item.problem is None:
                with ui.element("button").classes("shelf-open").props("type=button") as name:
                    ui.label(item.name)
                    ui.label(" · ".join((when, *item.models))).classes("small soft")
                name.on("click", self._context.handle(lambda: self._choose(item)))
            else:
                with ui.element("div").classes("shelf-open"):
                    ui.label(item.name)
                    ui.label(item.problem).classes("small").style("color: var(--bad)")
            with ui.element("div").classes("line").style("width: auto; gap: 0"):
                if item.problem is None:
                    self._small("edit", t("Rename {name}", name=item.name), lambda: self._rename(item))
                self._small("delete", t("Delete {name}", name=item.name), lambda: self._delete(item))

    def _small(self, icon: str, name: str, handler: Callable[[], object]) -> None:
        button = ui.button(icon=icon, on_click=self._context.handle(handler)).props("flat round dense")
        labelled(button, name)

    async def _choose(self, item: Entry) -> None:
        self._dialog.close()
        await self._opened(item.id)

    def _rename(self, item: Entry) -> None:
        title = t("Rename {name}", name=item.name)
        with self._outside, labelled(ui.dialog(), title) as dialog, parts.sheet():
            parts.title_line(2, title)
            name = ui.input(t("Name"), value=item.name).props("outlined dense autofocus").style("min-width: 260px")

            async def rename() -> None:
                wanted = " ".join((name.value or "").split())
                if not wanted:
                    return
                dialog.close()
                talk = await asyncio.to_thread(self._store.open, item.id)
                talk.name = wanted
                await asyncio.to_thread(self._store.save, talk)
                self._renamed()
                await self._read()

            name.on("keydown.enter", self._context.handle(rename))
            with ui.element("div").classes("line"):
                ui.button(t("Rename"), on_click=self._context.handle(rename)).props("unelevated no-caps")
                ui.button(t("Cancel"), on_click=dialog.close).props("flat no-caps")
        dialog.open()

    def _delete(self, item: Entry) -> None:
        async def delete() -> None:
            await asyncio.to_thread(self._store.delete, item.id)
            await self._read()
            await self._gone(item.id)

        with self._outside:
            confirm(
                self._context, t("Delete {name}?", name=item.name),
                t("The conversation goes with all its branches. This cannot be undone."), t("Delete"), delete,
            )  # fmt: skip
