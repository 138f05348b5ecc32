"""The samples of an evaluation: by verdict, searched, a page at a time."""

from __future__ import annotations

import asyncio
from collections import Counter

from nicegui import ui

from llmasos.evaluation.records import Status
from llmasos.evaluation.reports.samples import status_name
from llmasos.evaluation.sample_file import SampleFile
from llmasos.i18n import t
from llmasos.studio.components.pager import Pager
from llmasos.studio.context import Context
from llmasos.studio.evaluation.sample import SampleCard

_ON_PAGE = 10
_ALL = "all"


class SampleBrowser:
    """In the element that is open. Samples are read when they are shown."""

    def __init__(self, context: Context, samples: SampleFile, statuses: list[Status]) -> None:
        self._context, self._samples, self._statuses = context, samples, statuses
        self._places = list(range(len(statuses)))
        self._asked = 0
        counts = Counter(statuses)
        titles = {_ALL: f"{t('all')} {len(statuses):,}"} | {
            status.value: f"{status_name(status)} {counts[status]:,}" for status in Status if counts[status]
        }
        with ui.element("div").classes("line"):
            self._status = ui.radio(titles, value=_ALL, on_change=context.handle(self._choose)).props("inline dense")
            self._status.props(f'aria-label="{t("Status of the samples")}"')
            self._text = ui.input(placeholder=t("Search"), on_change=context.handle(self._choose)).props(
                f'outlined dense clearable debounce=300 aria-label="{t("Search the samples")}"'
            )
        self._page = ui.element("div").classes("talk")
        self._pager = Pager(
            context, _ON_PAGE, self._show, before=t("Earlier samples"), after=t("Further samples")
        )  # fmt: skip
        ui.timer(0, context.handle(self._show), once=True)

    async def _choose(self) -> None:
        self._asked += 1
        mine, text, status = self._asked, (self._text.value or "").strip(), self._status.value
        places = await asyncio.to_thread(self._samples.search, text) if text else list(range(len(self._statuses)))
        if mine != self._asked:  # somebody typed on
            return
        self._places = [place for place in places if status in (_ALL, self._statuses[place].value)]
        self._pager.start = 0
        await self._show()

    async def _show(self) -> None:
        wanted = self._places[self._pager.start : self._pager.start + _ON_PAGE]
        records = await asyncio.to_thread(self._samples.records, wanted)
        if self._page.is_deleted or wanted != self._places[self._pager.start : self._pager.start + _ON_PAGE]:
            return
        self._page.clear()
        with self._page:
            for record in records:
                SampleCard(self._context, record)
            if not records:
                ui.label(t("No sample is like that.")).classes("soft")
        self._pager.tell(len(wanted), len(self._places))
