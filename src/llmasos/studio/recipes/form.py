"""The form of a recipe: what matters most first, all other options in sections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nicegui import ui

from llmasos.i18n import t
from llmasos.recipe.document import Path
from llmasos.studio.components import parts
from llmasos.studio.context import Context
from llmasos.studio.recipes import rows
from llmasos.studio.recipes.controls import Control, KindChoice
from llmasos.studio.recipes.draft import Draft, path_of
from llmasos.studio.recipes.rows import Row
from llmasos.studio.recipes.shape import Entries, Kinds, Single


class Form:
    """Follows a draft, and changes it.

    Args:
        changed: called after the form changed the draft.
    """

    def __init__(self, context: Context, draft: Draft, featured: Sequence[str], changed: Callable[[], None]) -> None:
        self._context, self._draft, self._changed = context, draft, changed
        self._featured = [path_of(key) for key in featured]
        with ui.element("div").classes("talk") as self.element:
            self._areas = [_Area(context, draft, self._first_rows, self._after)]
            with ui.expansion(t("All options")).classes("w-full options") as everything:
                place = ui.element("div").classes("talk")
        everything.on_value_change(context.handle(lambda: self._open(place)))

    def follow(self) -> None:
        """Show what the draft says."""
        for area in self._areas:
            area.show()
        self.element.props(remove="inert") if self._draft.readable else self.element.props("inert")

    def _after(self) -> None:
        self.follow()
        self._changed()

    def _first_rows(self) -> list[Row]:
        found: list[Row] = []
        for path in self._featured:
            shape = rows.find(self._draft.shape, self._draft.shown, path)
            if shape is None:
                continue
            if isinstance(shape, Kinds) and path[-1] == shape.tag:
                found.append(Row("kind", path[:-1], shape))
            else:
                found += rows.rows(shape, self._draft.shown, path)
        return found

    def _open(self, place: ui.element) -> None:
        if place.default_slot.children:
            return
        with place:
            for name, shape in self._draft.shape.fields.items():
                if isinstance(shape, Single):
                    continue
                with ui.expansion(name, caption=shape.help).classes("w-full options") as section:
                    inner = ui.element("div").classes("talk")
                section.on_value_change(self._context.handle(lambda name=name, inner=inner: self._section(name, inner)))
            self._areas.append(_Area(self._context, self._draft, self._single_rows, self._after))

    def _section(self, name: str, place: ui.element) -> None:
        if not place.default_slot.children:
            with place:
                self._areas.append(_Area(self._context, self._draft, lambda: self._others(name), self._after))

    def _others(self, name: str) -> list[Row]:
        found = list(rows.rows(self._draft.shape.fields[name], self._draft.shown, (name,), 0))
        return self._not_featured(found)

    def _single_rows(self) -> list[Row]:
        found = [Row("field", (name,), shape) for name, shape in self._draft.shape.fields.items()
                 if isinstance(shape, Single)]  # fmt: skip
        return self._not_featured(found)

    def _not_featured(self, found: list[Row]) -> list[Row]:
        first = {(row.what, row.path) for row in self._first_rows()}
        return [row for row in found if (row.what, row.path) not in first]


class _Area:
    """Some lines of the form; it is built anew only when there are other lines."""

    def __init__(
        self, context: Context, draft: Draft, find_rows: Callable[[], list[Row]], after: Callable[[], None]
    ) -> None:
        self._context, self._draft, self._find, self._after = context, draft, find_rows, after
        self._place = ui.element("div").classes("talk")
        self._rows: list[Row] = []
        self._controls: dict[Path, Control] = {}
        self._kinds: dict[Path, KindChoice] = {}
        self._present: dict[Path, ui.switch] = {}
        self.show()

    def show(self) -> None:
        """Show what the draft says."""
        found = self._find()
        if [(row.what, row.path, row.shape) for row in found] != [
            (row.what, row.path, row.shape) for row in self._rows
        ]:
            self._rows = found
            self._build()
            return
        values = self._draft.shown
        for path, control in self._controls.items():
            control.show(rows.at(values, path), written=rows.holds(values, path))
        for row in self._rows:
            if row.what == "kind":
                self._kinds[row.path].show(self._kind(row))
            elif row.what == "present":
                self._present[row.path].value = rows.at(values, row.path) is not None

    def _kind(self, row: Row) -> str | None:
        assert isinstance(row.shape, Kinds)
        return row.shape.kind_of(rows.at(self._draft.shown, row.path))

    def _build(self) -> None:
        self._controls, self._kinds, self._present = {}, {}, {}
        self._place.clear()
        with self._place:
            grid: ui.element | None = None
            depth = -1
            for row in self._rows:
                if row.what in ("group", "entry", "add", "present") or (row.what == "kind" and row.depth > 1):
                    grid = None
                if row.what in ("field", "kind"):
                    if grid is None or row.depth != depth:
                        grid, depth = ui.element("div").classes("fields").style(_indent(row.depth)), row.depth
                    with grid:
                        self._one(row)
                    continue
                with ui.element("div").classes("line").style(_indent(row.depth)):
                    self._one(row)

    def _one(self, row: Row) -> None:
        shape, values = row.shape, self._draft.shown
        if row.what == "field":
            self._controls[row.path] = Control(
                self._context, row, rows.at(values, row.path), written=rows.holds(values, row.path),
                change=lambda value: self._put(row.path, value),
            )  # fmt: skip
        elif row.what == "kind":
            assert isinstance(shape, Kinds)
            self._kinds[row.path] = KindChoice(
                self._context, row, self._kind(row), lambda kind: self._choose(row, kind)
            )
        elif row.what == "group":
            parts.title_line(3, str(row.path[-1]))
        elif row.what == "present":
            switch = ui.switch(str(row.path[-1]), value=rows.at(values, row.path) is not None)
            switch.props(f'dense aria-label="{row.key}"')
            switch.on_value_change(self._context.handle(lambda: self._switch(row.path, bool(switch.value))))
            self._present[row.path] = switch
            ui.label(shape.help).classes("small soft")
        elif row.what == "entry":
            parts.title_line(3, f"{row.path[-2]} {int(row.path[-1]) + 1}")
            ui.button(icon="close", on_click=self._context.handle(lambda: self._put(row.path, None))).props(
                f'flat round dense aria-label="{t("Remove {name}", name=row.key)}"'
            )
        else:
            assert isinstance(shape, Entries)
            number = len(rows.at(values, row.path) or [])
            ui.button(
                str(row.path[-1]), icon="add", on_click=self._context.handle(lambda: self._add(row.path, number))
            ).props(f'flat no-caps dense aria-label="{t("Add to {name}", name=row.key)}"')
            ui.label(shape.help).classes("small soft")

    def _put(self, path: Path, value: Any) -> None:
        self._draft.put(path, value)
        self._after()

    def _add(self, path: Path, number: int) -> None:
        self._put((*path, number), {})

    def _switch(self, path: Path, on: bool) -> None:
        if on != (rows.at(self._draft.shown, path) is not None):
            self._put(path, {} if on else None)

    def _choose(self, row: Row, kind: str | None) -> None:
        assert isinstance(row.shape, Kinds)
        self._draft.choose_kind(row.path, row.shape, kind)
        self._after()


def _indent(depth: int) -> str:
    return f"padding-left: {12 * max(depth - 1, 0)}px"
