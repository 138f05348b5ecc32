"""The records of a source as they stand in its files, page by page."""

from __future__ import annotations

from nicegui import ui

from llmasos.data.look import Look, page
from llmasos.data.report.names import reason_text
from llmasos.data.sources.record import Broken, Record
from llmasos.i18n import t
from llmasos.studio.components import parts
from llmasos.studio.components.labelled import labelled
from llmasos.studio.context import Context
from llmasos.studio.datasets.reading import reading
from llmasos.studio.datasets.whole_text import clipped, show_whole, text_of

_ROWS = 10
_COLUMNS = 10
_CHARACTERS = 240


class RowsTable:
    """Built into the element that is open."""

    def __init__(self, context: Context, look: Look) -> None:
        self._context, self._look = context, look
        self._first = 0
        self._columns = look.columns[:_COLUMNS]
        self._place = ui.element("div").classes("wide").props("tabindex=0 role=region")
        labelled(self._place, t("Rows"))
        with ui.element("div").classes("line"):
            self._before = ui.button(icon="chevron_left", on_click=context.handle(lambda: self._turn(-_ROWS)))
            labelled(self._before.props("flat round dense"), t("Rows before"))
            self._where = ui.label("").classes("small soft number").props("aria-live=polite")
            self._after = ui.button(icon="chevron_right", on_click=context.handle(lambda: self._turn(_ROWS)))
            labelled(self._after.props("flat round dense"), t("Rows after"))
            number = ui.number(label=t("Go to row"), min=1, precision=0).props("outlined dense").style("width: 130px")
            number.on("keydown.enter", context.handle(lambda: self._go(int(number.value or 1) - 1)))
            if len(look.columns) > _COLUMNS:
                text = t("All {count} columns", count=len(look.columns))
                self._all = ui.button(text, on_click=context.handle(self._widen)).props("flat no-caps")

    async def show(self) -> None:
        """Read and show the page."""
        found = await reading(page, self._look, self._first, _ROWS)
        if self._place.is_deleted:
            return
        self._place.clear()
        with self._place, ui.element("table").classes("rows"):
            with ui.element("thead"), ui.element("tr"):
                for name in ("#", *self._columns):
                    with ui.element("th").props("scope=col"):
                        ui.label(name)
            with ui.element("tbody"):
                for number, item in enumerate(found.items, found.first + 1):
                    with ui.element("tr"):
                        self._row(number, item)
        last = found.first + len(found.items)
        self._where.text = (
            t("rows {first} to {last}", first=f"{found.first + 1:,}", last=f"{last:,}")
            if found.items else t("There is no row {number}.", number=f"{found.first + 1:,}")
        )  # fmt: skip
        self._before.set_enabled(found.first > 0)
        self._after.set_enabled(found.more)

    def _row(self, number: int, item: Record | Broken) -> None:
        title = t("Row {number}", number=f"{number:,}")
        raw = item.raw if isinstance(item, Broken) else text_of(dict(item.fields))
        with ui.element("td"):
            button = ui.button(f"{number:,}", on_click=self._context.handle(lambda: show_whole(title, raw)))
            labelled(button.props("flat dense no-caps"), t("{row} as it stands in the file", row=title))
        if isinstance(item, Broken):
            with ui.element("td").props(f"colspan={max(len(self._columns), 1)}").classes("broken"):
                parts.pill(t("cannot be read: {problem}", problem=reason_text(item.reason)), "bad")
                ui.label(item.detail).classes("small")
                clipped(item.raw, _CHARACTERS, title)
            return
        for name in self._columns:
            with ui.element("td"):
                clipped(text_of(item.fields.get(name)), _CHARACTERS, f"{title}, {name}")

    async def _turn(self, rows: int) -> None:
        await self._go(self._first + rows)

    async def _go(self, first: int) -> None:
        self._first = max(first, 0)
        await self.show()

    async def _widen(self) -> None:
        self._columns = self._look.columns
        self._all.delete()
        await self.show()
