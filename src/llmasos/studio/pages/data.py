"""Data: send files, point to those on this machine, and what is there already."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from nicegui import ui

from llmasos.data.look import count_records
from llmasos.data.output.catalogue import DataSetRow, data_sets
from llmasos.errors import LLMasOSError
from llmasos.i18n import t
from llmasos.studio import address, uploads
from llmasos.studio.components import parts
from llmasos.studio.context import Context
from llmasos.studio.datasets import actions
from llmasos.studio.datasets.origin import Origin, path_given
from llmasos.studio.datasets.reach import check_reach
from llmasos.studio.datasets.reading import reading
from llmasos.studio.datasets.upload_area import UploadArea
from llmasos.studio.page import Page
from llmasos.units import format_bytes

_COUNTED_BYTES = 64 * 2**20
"""Larger files are not counted here: that takes seconds each."""


def build(context: Context) -> None:
    """The page."""
    with parts.heading(t("Data"), t("Look at them, prepare them, train on them.")):
        ui.button(t("New recipe"), icon="edit_note", on_click=lambda: ui.navigate.to(address.data_prepare())).props(
            "flat no-caps"
        )

    def received(names: list[str]) -> None:
        ui.notify(t("Here now: {names}", names=", ".join(names)), type="positive")
        if len(names) == 1:
            ui.navigate.to(address.data_look(str(uploads.folder(context.platform.library) / names[0])))
        else:
            show()

    UploadArea(context, received)
    if context.visitor.is_admin:  # others may read what was sent and what the library has
        _point(context)
    place = ui.element("div").classes("talk")

    def show() -> None:
        place.clear()
        with place:
            _files(context, show)
            _library(context, show)

    show()


def _point(context: Context) -> None:
    """Data need not be sent when they are on the machine already."""
    with parts.card():
        parts.title_line(2, t("Already on this machine"))
        with ui.element("div").classes("line"):
            path = ui.input(label=t("File, folder or pattern"), placeholder="~/data/*.jsonl").props("outlined dense")
            path.style("flex: 1; min-width: 200px")

            async def look() -> None:
                origin = path_given(path.value or "")
                check_reach(context, origin.source())
                await reading(origin.look)
                ui.navigate.to(address.data_look(origin.data))

            path.on("keydown.enter", context.handle(look))
            ui.button(t("Look at it"), icon="search", on_click=context.handle(look)).props("unelevated no-caps")


def _files(context: Context, refresh: Callable[[], None]) -> None:
    parts.title_line(2, t("Sent files"))
    found = uploads.files(context.platform.library)
    if not found:
        advice = t("A table with a text and its class in each line is enough to train a classifier.")
        with parts.empty("upload_file", t("No file has been sent yet."), advice):
            pass
        return
    counts: list[tuple[Path, ui.label]] = []
    with parts.card():
        for path in found:
            with ui.element("div").classes("line apart listed"):
                with ui.element("div").classes("named"):
                    ui.link(path.name, address.data_look(str(path)))
                    with ui.element("div").classes("line small soft number"):
                        ui.label(format_bytes(path.stat().st_size))
                        counts.append((path, ui.label("…")))
                with ui.element("div").classes("line").style("width: auto"):
                    actions.prepare_button(str(path), path.name)
                    actions.train_button(str(path), path.name)
                    actions.remove_upload_button(context, path, refresh)

    async def count() -> None:
        for path, label in counts:
            text = await reading(_rows_of, path)
            if not label.is_deleted:
                label.text = text

    ui.timer(0.05, context.handle(count), once=True)


def _rows_of(path: Path) -> str:
    """How many rows a file has, in words."""
    try:
        found = path.stat()
        if found.st_size > _COUNTED_BYTES:
            return t("rows are counted when it is prepared")
        return t("{count} rows", count=f"{_count(path, found.st_size, found.st_mtime_ns):,}")
    except (LLMasOSError, OSError) as error:
        return t("cannot be read: {problem}", problem=getattr(error, "message", str(error)))


@lru_cache(maxsize=1000)
def _count(path: Path, size: int, changed: int) -> int:
    """The rows of a file as it was at a time."""
    return count_records(Origin(str(path)).look())


def _library(context: Context, refresh: Callable[[], None]) -> None:
    parts.title_line(2, t("Data sets of the library"))
    found = data_sets(context.platform.library)
    if not found:
        advice = t("Preparing cleans, filters and divides data, and reports what became of every row.")
        with parts.empty("dataset", t("No data set has been prepared yet."), advice):
            pass
        return
    with parts.card():
        for item in found:
            _data_set(context, item, refresh)


def _data_set(context: Context, item: DataSetRow, refresh: Callable[[], None]) -> None:
    with ui.element("div").classes("line apart listed"):
        with ui.element("div").classes("named"):
            ui.link(item.name, address.data_look(item.name))
            with ui.element("div").classes("line small soft number"):
                ui.label(format_bytes(item.size))
                if item.rows is not None:
                    ui.label(t("{count} rows", count=f"{item.rows:,}"))
                if item.kind:
                    ui.label(item.kind)
                if item.splits:
                    ui.label(", ".join(f"{name} {count:,}" for name, count in item.splits.items()))
        with ui.element("div").classes("line").style("width: auto"):
            actions.train_button(item.name, item.name)
            actions.remove_data_set_button(context, item.name, refresh)


PAGE = Page("/data", lambda: t("Data"), "dataset", build)
