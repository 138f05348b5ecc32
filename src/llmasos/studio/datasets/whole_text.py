"""Long texts: their beginning, how much more there is, and the whole on demand."""

from __future__ import annotations

import orjson
from nicegui import ui

from llmasos.data.row import JsonValue
from llmasos.i18n import t
from llmasos.studio.components import parts
from llmasos.studio.components.labelled import labelled


def text_of(value: JsonValue) -> str:
    """A value of a record as text."""
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()


def clipped(text: str, most: int, title: str, *, classes: str = "cell") -> None:
    """A text, or its beginning with a button that shows all of it."""
    ui.label(text[:most]).classes(classes)
    if len(text) > most:
        more = t("… {count} more characters", count=f"{len(text) - most:,}")
        button = ui.button(more, on_click=lambda: show_whole(title, text)).props("flat dense no-caps size=sm")
        labelled(button, f"{title}: {more}")


def show_whole(title: str, text: str) -> None:
    """A text in a dialog of its own."""
    with ui.dialog() as dialog, parts.sheet().style("max-width: 900px; width: 100%"):
        parts.title_line(2, title)
        whole = ui.label(text).classes("whole").props("tabindex=0 role=region")
        labelled(whole, title)
        ui.button(t("Close"), on_click=dialog.close).props("flat no-caps")
    dialog.on("hide", dialog.delete)
    dialog.open()
