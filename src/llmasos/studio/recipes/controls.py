"""Controls for single values of a recipe."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import yaml
from nicegui import ui

from llmasos.i18n import t
from llmasos.studio.context import Context
from llmasos.studio.recipes.rows import Row
from llmasos.studio.recipes.shape import Kinds, Single
from llmasos.studio.recipes.yaml_text import NULL

Change = Callable[[Any], None]
"""Called with the new value; ``None`` stands for the default."""

_USUAL = ""
"""The choice of the default in a list of choices."""


class Control:
    """Shows one value and tells when a person changes it."""

    def __init__(self, context: Context, row: Row, value: Any, *, written: bool, change: Change) -> None:
        assert isinstance(row.shape, Single)
        self._row, self._shape, self._change = row, row.shape, change
        self._context = context
        self._shown: Any = None
        with ui.element("div").classes("field"):
            self._element = self._build()
            self._element.props(f'outlined dense stack-label aria-label="{row.key}"')
            self._null: ui.checkbox | None = None
            if row.shape.nullable and row.shape.default is not None:
                self._null = ui.checkbox(t("none")).props(f'dense aria-label="{t("none")}: {row.key}"')
            if row.shape.help:
                ui.label(row.shape.help).classes("small soft")
        self.show(value, written=written)
        self._element.on_value_change(context.handle(self._changed))
        if self._null is not None:
            self._null.on_value_change(context.handle(self._nulled))

    def show(self, value: Any, *, written: bool) -> None:
        """Show what is written now."""
        is_null = written and value is None and self._null is not None
        self._shown = self._as_shown(value)
        if self._element.value != self._shown:
            self._element.value = self._shown
        if self._null is not None and self._null.value != is_null:
            self._null.value = is_null

    def _build(self) -> Any:
        name, shape = str(self._row.path[-1]), self._shape
        usual = default_text(shape)
        if shape.control == "choice":
            options = {} if shape.required else {_USUAL: t("default: {value}", value=usual) if usual else "-"}
            return ui.select({**options, **{choice: str(choice) for choice in shape.choices}}, label=name)
        if shape.control == "several":
            return ui.select(list(shape.choices), multiple=True, label=name).props("use-chips clearable")
        if shape.control == "switch":
            return ui.switch(name)
        if shape.control in ("texts", "yaml"):
            area = ui.textarea(name, placeholder=usual or None).props("autogrow rows=1 debounce=300")
            return area.props("input-class=mono") if shape.control == "yaml" else area
        field = ui.input(name, placeholder=usual or None).props("debounce=300")
        return field.props("inputmode=decimal") if shape.control == "number" else field

    def _as_shown(self, value: Any) -> Any:
        control = self._shape.control
        if control == "switch":
            return bool(self._shape.default if value is None else value)
        if control == "choice":
            return value if value in self._shape.choices else (None if self._shape.required else _USUAL)
        if control == "several":
            return [item for item in value if item in self._shape.choices] if isinstance(value, list) else []
        if value is None:
            return ""
        if control == "texts" and isinstance(value, list):
            return "\n".join(str(item) for item in value)
        if control == "yaml":
            return _flow(value)
        return _number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)

    def _changed(self) -> None:
        value = self._element.value
        if value == self._shown:
            return
        self._shown = value
        self._change(self._read(value))

    def _nulled(self) -> None:
        assert self._null is not None
        self._change(NULL if self._null.value else None)

    def _read(self, value: Any) -> Any:
        control = self._shape.control
        if control == "switch":
            return None if value == self._shape.default else value
        if control == "choice":
            return None if value in (_USUAL, None) else value
        if control == "several":
            return list(value) or None
        text = value or ""
        if control == "texts":
            return self._texts(text)
        if not text.strip():
            return None
        if control == "yaml":
            with contextlib.suppress(yaml.YAMLError):
                return yaml.safe_load(text)
        return read_number(text) if control == "number" else text

    def _texts(self, text: str) -> Any:
        lines = [line for line in text.split("\n") if line.strip()]
        if not lines:
            return None
        alone = len(lines) == 1 and (self._shape.lonely or lines[0] in self._shape.choices)
        return lines[0] if alone else lines


class KindChoice:
    """The choice of the kind of a mapping."""

    def __init__(self, context: Context, row: Row, kind: str | None, change: Change) -> None:
        assert isinstance(row.shape, Kinds)
        shape = row.shape
        options = {name: name for name in shape.members}
        if not shape.required and shape.usual is None:
            options = {_USUAL: "-", **options}
        self._usual = _USUAL if _USUAL in options else None
        self._members = shape.members
        with ui.element("div").classes("field"):
            name = str(row.path[-1])
            self._element = ui.select(options, label=name if isinstance(row.path[-1], str) else shape.tag)
            self._element.props(f'outlined dense aria-label="{row.key}.{shape.tag}"')
            self._help = ui.label("").classes("small soft")
            if shape.help:
                ui.label(shape.help).classes("small soft")
        self.show(kind)
        self._element.on_value_change(context.handle(lambda: self._chosen(change)))

    def show(self, kind: str | None) -> None:
        """Show the kind that is written now."""
        self._shown = self._usual if kind is None else kind
        self._element.value = self._shown
        self._help.text = self._members[kind].help if kind is not None else ""

    def _chosen(self, change: Change) -> None:
        if self._element.value != self._shown:
            self._shown = self._element.value
            change(self._shown or None)


def default_text(shape: Single) -> str:
    """What holds where nothing is written, as a text; empty: nothing does."""
    value = shape.default
    if value in (None, (), {}, [], ""):
        return ""
    if isinstance(value, tuple | list):
        return ", ".join(str(item) for item in value)
    if isinstance(value, bool):
        return json.dumps(value)
    return _number(value) if isinstance(value, int | float) else str(value)


def read_number(text: str) -> Any:
    """The number that a text means; other texts stay, for the check to refuse."""
    text = text.strip()
    for make in (int, float):
        try:
            return make(text)
        except ValueError:
            continue
    return text


def _number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1_000_000).removesuffix(
        "...\n"
    ).strip()  # fmt: skip
