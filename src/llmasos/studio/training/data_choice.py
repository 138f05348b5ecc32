"""What is learned from: a file that was sent, a data set of the library, or a path; and what its columns mean."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from nicegui import ui
from pydantic import TypeAdapter, ValidationError

from llmasos.data.look import Fit, Look, fit
from llmasos.data.output.catalogue import data_sets
from llmasos.data.sources.config import Source
from llmasos.data.sources.layout import Layout
from llmasos.errors import LLMasOSError
from llmasos.i18n import t
from llmasos.library.store import Library
from llmasos.studio import address, uploads
from llmasos.studio.context import Context
from llmasos.studio.datasets.mapping import Mapping as ColumnMapping
from llmasos.studio.datasets.origin import Origin, path_given
from llmasos.studio.datasets.reach import check_reach
from llmasos.studio.training import goals

_LOOKED_AT = 2000
_SOURCE: TypeAdapter[Any] = TypeAdapter(Source)

Entry = dict[str, Any]
"""An entry of a recipe's list of data."""


class DataChoice:
    """Built into the element that is open.

    Args:
        kind: of the recipe.
        changed: called with the entry for training, and that for validation if the data have such a split, when a
            person chooses.
    """

    def __init__(self, context: Context, kind: str, changed: Callable[[Entry, Entry | None, str], None]) -> None:
        self._context, self._kind, self._changed = context, kind, changed
        self._entry: Entry | None = None
        self._newest = 0
        self._options = _known(context.platform.library)
        self._select = ui.select(self._options, label=t("Data")).props("outlined dense").classes("w-full")
        self._select.on_value_change(context.handle(self._chosen))
        with ui.element("div").classes("line say-path"):
            self._path = ui.input(label=t("or a path on this machine"), placeholder="~/data/*.jsonl")
            self._path.props("outlined dense").style("flex: 1; min-width: 160px")
            self._path.on("keydown.enter", context.handle(self._given))
            ui.button(t("Use it"), on_click=context.handle(self._given)).props("flat no-caps")
        ui.link(t("Send a file from this computer"), address.data()).classes("small")
        with ui.element("div").classes("talk") as self._frame:
            self._place = ui.element("div").classes("talk")

    def follow(self, entry: Any) -> None:
        """Show what the recipe says."""
        if not isinstance(entry, dict) or _source(entry) == _source(self._entry or {}):
            return
        self._entry = dict(entry)
        origin = goals.origin_of(entry)
        self._offer(origin)
        if origin is not None:
            self._load(origin, entry)

    def choose(self, origin: Origin) -> None:
        """As if a person had chosen it."""
        self._offer(origin)
        self._load(origin, None)

    def _offer(self, origin: Origin | None) -> None:
        value = origin.data if origin is not None else None
        if value is not None and value not in self._options:
            self._options[value] = value
            self._select.set_options(self._options)
        self._shown = value
        self._select.value = value

    def _chosen(self) -> None:
        value = self._select.value
        if value is not None and value != self._shown:
            self._shown = value
            self._load(Origin(value), None)

    async def _given(self) -> None:
        origin = path_given(self._path.value or "")
        check_reach(self._context, origin.source())
        await asyncio.to_thread(origin.look)  # says what is wrong with the path
        self._path.value = ""
        self.choose(origin)

    def _load(self, origin: Origin, given: Mapping[str, Any] | None) -> None:
        """Read it after the page is there; ``given``: the entry that the recipe has."""
        self._newest += 1
        self._place.clear()
        with self._place, ui.element("div").classes("line"):
            ui.spinner(size="20px").props("aria-hidden=true")
            ui.label(t("The files are being read.")).classes("small soft").props("role=status")
        with self._frame:  # what is in the place goes when the place is cleared, a timer with its work too
            ui.timer(0.05, self._context.handle(partial(self._read, origin, given, self._newest)), once=True)

    async def _read(self, origin: Origin, given: Mapping[str, Any] | None, mine: int) -> None:
        library = self._context.platform.library
        found: Look | LLMasOSError | OSError
        splits: list[str] = []
        try:
            check_reach(self._context, origin.source())
            found = await asyncio.to_thread(_look, origin, given)
            splits = await asyncio.to_thread(origin.splits, library)
        except (LLMasOSError, OSError) as error:
            found = error
        if self._place.is_deleted or mine != self._newest:
            return
        self._place.clear()
        with self._place:
            if not isinstance(found, Look):
                ui.label(getattr(found, "message", str(found))).classes("wrong")
                ui.label(getattr(found, "hint", None) or "").classes("small soft")
                return
            await self._show(origin, found, given, splits, mine)

    async def _show(
        self, origin: Origin, look: Look, given: Mapping[str, Any] | None, splits: list[str], mine: int
    ) -> None:
        ui.label(t("Columns found: {names}", names=", ".join(look.columns) or "-")).classes("small soft")
        mapping = ColumnMapping(self._context, look, lambda: self._map(origin, mapping, splits, look, mine))
        if given is None and (mapping.layout is None or mapping.layout.kind not in goals.LAYOUTS[self._kind]):
            mapping.choose(goals.LAYOUTS[self._kind][0])
        self._fit = ui.label("").classes("small soft").props("aria-live=polite")
        if given is None:
            await self._map(origin, mapping, splits, look, mine)
        else:
            await self._show_fit(look, mapping.layout, mine)

    async def _map(self, origin: Origin, mapping: ColumnMapping, splits: list[str], look: Look, mine: int) -> None:
        if mine != self._newest:
            return
        layout = mapping.layout if mapping.changed else None
        self._entry = origin.entry(layout)
        held = replace(origin, split="validation").entry(layout) if "validation" in splits else None
        self._changed(self._entry, held, origin.title)
        await self._show_fit(look, mapping.layout, mine)

    async def _show_fit(self, look: Look, layout: Layout | None, mine: int) -> None:
        if layout is None:
            self._fit.text = t("Choose what the rows are, and a column for each part that they need.")
            return
        found: Fit = await asyncio.to_thread(fit, look, layout, most=_LOOKED_AT, kept=0)
        if self._place.is_deleted or mine != self._newest:
            return
        text = t("{good} of {count} rows can be used", good=f"{found.good:,}", count=f"{found.good + found.bad:,}")
        self._fit.text = text if found.complete else t("{text}, of the first", text=text)


def _look(origin: Origin, given: Mapping[str, Any] | None) -> Look:
    look = origin.look()
    if given is None:
        return look
    source = _source(given)
    return look if source is None else replace(look, source=source)


def _source(entry: Mapping[str, Any]) -> Source | None:
    """The source that an entry means; ``None``: it means none, which the recipe's own check tells."""
    try:
        found: Source = _SOURCE.validate_python(dict(entry))
    except ValidationError:
        return None
    return found


def _known(library: Library) -> dict[str, str]:
    """What can be chosen: value and text."""
    found = {str(path): path.name for path in uploads.files(library)}
    for item in data_sets(library):
        found[item.name] = (
            t("{name} · {count} rows", name=item.name, count=f"{item.rows:,}") if item.rows else item.name
        )
    return found
