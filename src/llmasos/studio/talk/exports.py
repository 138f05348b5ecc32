"""A talk as code and as files."""

from __future__ import annotations

import re
from collections.abc import Callable

from nicegui import ui

from llmasos.i18n import t
from llmasos.studio.components import parts
from llmasos.studio.components.labelled import labelled
from llmasos.studio.context import Context
from llmasos.studio.talk import code
from llmasos.studio.talk.saved import Talk, to_json, to_markdown


async def show_code(talk: Talk) -> None:
    """A dialog with programs that ask what was asked last, in the same way."""
    server = await ui.run_javascript("location.origin")
    side = talk.sides[0]
    path = list(side.conversation.path())
    while path and path[-1].role == "assistant":
        path.pop()
    said = side.conversation.messages_to(path[-1]) if path else [{"role": "user", "content": t("Hello")}]
    programs = (
        ("Python", "python", code.python(server, side.model, said, talk.settings)),
        ("curl", "bash", code.curl(server, side.model, said, talk.settings)),
        ("JavaScript", "javascript", code.javascript(server, side.model, said, talk.settings)),
    )
    with labelled(ui.dialog(), t("As code")) as dialog, parts.sheet():
        with ui.tabs() as tabs:
            entries = [ui.tab(name) for name, _, _ in programs]
        with ui.tab_panels(tabs, value=entries[0]).classes("w-full"):
            for entry, (_, language, text) in zip(entries, programs, strict=True):
                with ui.tab_panel(entry):
                    parts.code(text, language)
        ui.button(t("Close"), on_click=dialog.close).props("flat no-caps")
    dialog.open()


def download_menu(context: Context, talk: Callable[[], Talk]) -> None:
    """A button with the forms in which a talk is downloaded."""

    def markdown() -> None:
        ui.download.content(to_markdown(talk()), f"{file_stem(talk())}.md", "text/markdown")

    def whole() -> None:
        ui.download.content(to_json(talk()), f"{file_stem(talk())}.json", "application/json")

    with ui.button(t("Download"), icon="download").props("flat no-caps dense"), ui.menu():
        ui.menu_item(t("Markdown: what is shown"), context.handle(markdown))
        ui.menu_item(t("JSON: all branches"), context.handle(whole))


def file_stem(talk: Talk) -> str:
    """A file name of a talk's name, without what file systems refuse."""
    return re.sub(r"[^\w\- ]+", "", talk.name).strip()[:60] or talk.id
