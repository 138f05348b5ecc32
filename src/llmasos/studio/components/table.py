"""A plain table of texts, which scrolls inside itself where it is wider than the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nicegui import ui


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, label: str, marked: Iterable[int] = ()) -> None:
    """Heads and rows; the first cell of a row is its head.

    Args:
        label: what the table shows, for screen readers.
        marked: numbers of the rows that are set apart.
    """
    marked = set(marked)
    frame = ui.element("div").classes("wide").props("tabindex=0 role=region")
    frame.props["aria-label"] = label
    with frame, ui.element("table").classes("plain"):
        with ui.element("thead"), ui.element("tr"):
            for head in heads:
                with ui.element("th").props("scope=col"):
                    ui.label(head)
        with ui.element("tbody"):
            for number, row in enumerate(rows):
                with ui.element("tr").classes("marked" if number in marked else ""):
                    for place, cell in enumerate(row):
                        with ui.element("td" if place else "th").props("" if place else "scope=row"):
                            ui.label("" if cell is None else str(cell))
