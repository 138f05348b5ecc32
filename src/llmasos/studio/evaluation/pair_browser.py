"""The samples of two evaluations beside each other, a page at a time."""

from __future__ import annotations

import asyncio

from nicegui import ui

from llmasos.evaluation.records import Record
from llmasos.evaluation.reports.samples import status_name
from llmasos.i18n import t
from llmasos.studio.components import parts
from llmasos.studio.components.pager import Pager
from llmasos.studio.context import Context
from llmasos.studio.evaluation.pairs import Compared, Pair, Which
from llmasos.studio.evaluation.sample import fields, line
from llmasos.studio.evaluation.sections import STATUS_TONES

_ON_PAGE = 10


class PairBrowser:
    """In the element that is open."""

    def __init__(self, context: Context, compared: Compared, names: tuple[str, str]) -> None:
        self._context, self._compared, self._names = context, compared, names
        titles: dict[Which, str] = {
            "worse": t("the second is worse"), "better": t("the second is better"),
            "verdict": t("the verdicts differ"), "all": t("all"),
        }  # fmt: skip
        counted = {which: f"{title} {len(compared.places[which]):,}" for which, title in titles.items()}
        first: Which = next((which for which in titles if compared.places[which]), "all")
        self._which = ui.radio(counted, value=first, on_change=context.handle(self._choose)).props("inline dense")
        self._which.props(f'aria-label="{t("Which samples")}"')
        self._page = ui.element("div").classes("talk")
        self._pager = Pager(
            context, _ON_PAGE, self._show, before=t("Earlier samples"), after=t("Further samples")
        )  # fmt: skip
        ui.timer(0, context.handle(self._show), once=True)

    async def _choose(self) -> None:
        self._pager.start = 0
        await self._show()

    async def _show(self) -> None:
        asked = (self._which.value, self._pager.start)
        pairs = await asyncio.to_thread(self._compared.page, *asked, _ON_PAGE)
        if self._page.is_deleted or asked != (self._which.value, self._pager.start):
            return
        self._page.clear()
        with self._page:
            for pair in pairs:
                self._pair(pair)
            if not pairs:
                ui.label(t("No sample is like that.")).classes("soft")
        self._pager.tell(len(pairs), len(self._compared.places[self._which.value]))

    def _pair(self, pair: Pair) -> None:
        with ui.expansion().classes("sample") as expansion:
            with expansion.add_slot("header"), ui.element("div").classes("sample-head"):
                ui.label(f"#{pair.first.index}").classes("small soft number")
                for record in (pair.first, pair.second):
                    parts.pill(status_name(record.status), STATUS_TONES[record.status])
                    ui.label(_answer(record)).classes("sample-line")
            inside = ui.element("div").classes("columns")

        def build() -> None:
            if expansion.value and not inside.default_slot.children:
                with inside:
                    for name, record in zip(self._names, (pair.first, pair.second), strict=True):
                        with ui.element("div").classes("talk"):
                            parts.title_line(2, name)
                            fields(record)

        expansion.on_value_change(self._context.handle(build))


def _answer(record: Record) -> str:
    return line(record.parsed or record.output or record.error or "") or t("(empty)")
