"""A look at data: their rows, what the columns mean, how a model sees them, what is in them."""

from __future__ import annotations

import json

from nicegui import ui

from llmasos.data.look import Fit, Look, fit
from llmasos.data.sources.layout import Layout
from llmasos.errors import LLMasOSError
from llmasos.i18n import t
from llmasos.studio import address
from llmasos.studio.components import parts
from llmasos.studio.context import Context
from llmasos.studio.datasets import actions
from llmasos.studio.datasets.fitting import show_fit
from llmasos.studio.datasets.mapping import Mapping
from llmasos.studio.datasets.origin import Origin
from llmasos.studio.datasets.reach import check_reach
from llmasos.studio.datasets.reading import reading
from llmasos.studio.datasets.rendered import Rendered
from llmasos.studio.datasets.report import has_report, show_report, show_statistics
from llmasos.studio.datasets.rows_table import RowsTable
from llmasos.studio.page import Page
from llmasos.units import format_bytes

_LOOKED_AT = 10_000
_RENDERED = 200


def build(context: Context, data: str = "", split: str = "train") -> None:
    """The page of ``data``: an absolute path, or a name in the library."""
    if not data:
        with parts.empty("search_off", t("No data are chosen.")):
            ui.link(t("To the data"), address.data())
        return
    _LookPage(context, Origin(data, split))


class _LookPage:
    """In one tab. Its frame is there at once; what is read comes after."""

    def __init__(self, context: Context, origin: Origin) -> None:
        self._context, self._origin = context, origin
        self._mapping: Mapping | None = None
        self._newest = 0
        library = context.platform.library
        with parts.heading(origin.title, origin.data if origin.is_path else ""):
            actions.prepare_button(origin.data, origin.title, self._layout_json)
            actions.train_button(origin.data, origin.title)
            upload = origin.upload(library)
            if upload is not None:
                actions.remove_upload_button(context, upload, self._leave)
            elif not origin.is_path and library.has(origin.data):
                actions.remove_data_set_button(context, origin.data, self._leave)
        self._place = ui.element("div").classes("talk")
        with self._place, ui.element("div").classes("line"):
            ui.spinner(size="24px").props("aria-hidden=true")
            ui.label(t("The files are being read.")).classes("soft").props("role=status")
        ui.timer(0.05, context.handle(self._load), once=True)

    async def _load(self) -> None:
        library = self._context.platform.library
        found: Look | LLMasOSError | OSError
        try:
            check_reach(self._context, self._origin.source())
            found = await reading(self._origin.look)
            splits = await reading(self._origin.splits, library)
        except (LLMasOSError, OSError) as error:
            found = error
        if self._place.is_deleted:
            return
        self._place.clear()
        with self._place:
            if isinstance(found, Look):
                await self._show(found, splits)
                return
            with parts.empty("report", getattr(found, "message", str(found)), getattr(found, "hint", None) or ""):
                ui.link(t("To the data"), address.data())

    async def _show(self, look: Look, splits: list[str]) -> None:
        with parts.card():
            _facts(look)
            if len(splits) > 1:
                chosen = ui.select(splits, value=self._origin.split, label=t("Split")).props("outlined dense")
                chosen.style("min-width: 200px")
                chosen.on_value_change(lambda: ui.navigate.to(address.data_look(self._origin.data, str(chosen.value))))
        with parts.card():
            parts.title_line(2, t("Rows"))
            table = RowsTable(self._context, look)
        with parts.card():
            parts.title_line(2, t("What the columns mean"))
            ui.label(_recognised(look)).classes("soft")
            self._mapping = Mapping(self._context, look, lambda: self._fit(look))
            self._fitted = ui.element("div").classes("talk").props("aria-live=polite")
        with parts.card():
            parts.title_line(2, t("As a model sees it"))
            self._rendered = Rendered(self._context)
        prepared = not self._origin.is_path and has_report(self._context.platform.library, self._origin.data)
        if prepared:
            show_report(self._context, self._origin.data)
        with parts.card() as card:
            parts.title_line(2, t("Statistics"))
            self._statistics = ui.element("div").classes("talk")
        card.set_visibility(not prepared)  # the report has them, of all rows
        await table.show()
        await self._fit(look)

    async def _fit(self, look: Look) -> None:
        """Read the first rows by what is chosen, and show what comes out."""
        assert self._mapping is not None
        self._newest += 1
        mine, layout = self._newest, self._mapping.layout
        found = await reading(fit, look, layout, most=_LOOKED_AT, kept=_RENDERED) if layout else None
        if self._place.is_deleted or mine != self._newest:
            return
        for place in (self._fitted, self._statistics):
            place.clear()
        with self._fitted:
            if found is None:
                ui.label(t("Choose what the rows are, and a column for each part that they need.")).classes("wrong")
            else:
                show_fit(found)
        self._show_statistics(found)
        await self._rendered.show(found.rows if found is not None else ())

    def _show_statistics(self, found: Fit | None) -> None:
        with self._statistics:
            if found is None or not found.good:
                ui.label(t("There are no rows yet that can be used.")).classes("soft")
                return
            if not found.complete:
                ui.label(t("Of the first {count} rows.", count=f"{found.good + found.bad:,}")).classes("small soft")
            show_statistics(found.statistics, found.good)

    def _layout_json(self) -> str | None:
        """The meaning of the columns, if it is not what is recognised anyway."""
        if self._mapping is None or not self._mapping.changed:
            return None
        layout: Layout | None = self._mapping.layout
        if layout is None:
            return None
        return json.dumps({"kind": layout.kind, **layout.model_dump(mode="json", exclude_defaults=True)})

    def _leave(self) -> None:
        ui.navigate.to(address.data())


def _facts(look: Look) -> None:
    files = look.plan.files
    encodings = sorted({file.encoding for file in files if file.encoding})
    formats = sorted({" ".join(dict.fromkeys([file.format, file.compression])) for file in files})
    formats = [name.removesuffix(" none") for name in formats]
    guessed = [file.name for file in files if file.encoding and not file.encoding_certain]
    parts.facts([
        (t("Files"), len(files) if len(files) > 1 else None),
        (t("Size"), format_bytes(look.size)),
        (t("Format"), ", ".join(formats)),
        (t("Encoding"), ", ".join(encodings) + (" " + t("(guessed)") if guessed else "")),
        (t("Columns"), len(look.columns)),
    ])  # fmt: skip
    broken = sum(file.undecodable_lines for file in files)
    if broken:
        ui.label(t("{count} lines do not fit the encoding and are left out.", count=f"{broken:,}")).classes("wrong")
    if look.plan.skipped_files:
        names = ", ".join(look.plan.skipped_files[:20])
        more = len(look.plan.skipped_files) - 20
        ui.label(t("Files of unknown format, left out: {names}", names=names)).classes("wrong")
        if more > 0:
            ui.label(t("and {count} more", count=more)).classes("small soft")


def _recognised(look: Look) -> str:
    if look.recognised is None:
        return t("It is not clear from the names of the columns. Say it here.")
    return t("Recognised as {name}. Change it if that is wrong.", name=look.recognised.name)


PAGE = Page("/data/look", lambda: t("Data"), "dataset", build, section="/data")
