"""All settings with their values, where each comes from, and how to change it."""

from __future__ import annotations

import asyncio
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from nicegui import ui
from sqlalchemy.engine import make_url

from llmasos.errors import InvalidRequest
from llmasos.i18n import t, translate
from llmasos.settings import Settings, get_settings, origin_of
from llmasos.settings_file import NOT_HERE, change_setting
from llmasos.studio.components import parts
from llmasos.studio.components.labelled import labelled
from llmasos.studio.context import Context
from llmasos.units import format_bytes

_BYTES = frozenset({"disk_reserve", "upload_limit"})


class ValuesSection:
    """For admins."""

    def __init__(self, context: Context) -> None:
        self._context = context
        ui.label(
            t("Kept in config.toml of the home folder. Variables of the environment win. What has been started keeps "
              "the values that it was started with.")
        ).classes("soft small")  # fmt: skip
        self._place = ui.element("div").classes("talk")
        self._show()

    def _show(self) -> None:
        self._place.clear()
        with self._place:
            for name in Settings.model_fields:
                self._one(name)

    def _one(self, name: str) -> None:
        origin = origin_of(name)
        with parts.card(), ui.element("div").classes("line apart setting"):
            with ui.element("div"):
                with ui.element("div").classes("line"):
                    parts.title_line(3, name).classes("mono")
                    parts.pill(t("default") if origin == "default" else origin,
                               "plain" if origin == "default" else "alive")  # fmt: skip
                ui.label(translate(str(Settings.model_fields[name].description))).classes("small soft")
                ui.label(shown(name, getattr(get_settings(), name))).classes("mono value")
            if name not in NOT_HERE and not origin.startswith("LLMASOS_"):
                edit = self._context.handle(lambda: self._ask(name), admin=True)
                labelled(ui.button(icon="edit", on_click=edit).props("flat round dense"), t("Change {name}", name=name))

    def _ask(self, name: str) -> None:
        value = getattr(get_settings(), name)
        with ui.dialog() as dialog, parts.sheet():
            parts.title_line(2, name).classes("mono")
            ui.label(translate(str(Settings.model_fields[name].description))).classes("soft")
            control = _control(name, value)
            problem = ui.label("").style("color: var(--bad); white-space: pre-wrap").props("role=alert")

            async def write(new: object) -> None:
                problem.text = ""
                try:
                    await asyncio.to_thread(change_setting, name, new)
                except InvalidRequest as error:
                    problem.text = error.message
                    return
                if name == "concurrent_runs":
                    self._context.platform.queue.limit = get_settings().concurrent_runs
                dialog.close()
                ui.notify(t("{name} is saved.", name=name))
                self._show()

            async def save() -> None:
                await write(_entered(name, control.value))

            async def reset() -> None:
                await write(None)

            with ui.element("div").classes("line"):
                ui.button(t("Save"), on_click=self._context.handle(save, admin=True)).props("unelevated no-caps")
                if origin_of(name) != "default":
                    ui.button(t("Back to the default"), on_click=self._context.handle(reset, admin=True)).props(
                        "outline no-caps"
                    )
                ui.button(t("Cancel"), on_click=dialog.close).props("flat no-caps")
        dialog.open()


def shown(name: str, value: object) -> str:
    """A value as text, without the password of a database."""
    if value is None or value == ():
        return "–"
    if name == "database":
        return make_url(str(value)).render_as_string(hide_password=True)
    if name in _BYTES and isinstance(value, int):
        return f"{value} ({format_bytes(value)})"
    if isinstance(value, bool):
        return t("yes") if value else t("no")
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def choices(name: str) -> list[str] | None:
    """The values that a setting may have, if they are few."""
    for member in _members(Settings.model_fields[name].annotation):
        if get_origin(member) is Literal:
            return [str(value) for value in get_args(member)]
    return None


def _members(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _control(name: str, value: object) -> Any:
    """What a setting is changed with: by its type."""
    allowed = choices(name)
    if allowed is not None:
        optional = type(None) in _members(Settings.model_fields[name].annotation)
        options = {"": t("default"), **{item: item for item in allowed}} if optional else {i: i for i in allowed}
        return ui.select(options, value=value or "", label=name).props("outlined dense")
    if isinstance(value, bool):
        return ui.switch(name, value=value)
    text = ", ".join(value) if isinstance(value, tuple) else "" if value is None else str(value)
    field = ui.input(name, value=text).props("outlined dense spellcheck=false autocapitalize=none")
    if isinstance(value, tuple):
        field.props["hint"] = t("Several are separated by commas.")
    return field


def _entered(name: str, value: object) -> object:
    """What was entered; nothing stands for the default."""
    if isinstance(value, str) and not value.strip():
        return None
    if isinstance(value, str) and Path in _members(Settings.model_fields[name].annotation):
        return str(Path(value).expanduser())
    return value
