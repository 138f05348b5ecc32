"""All steps that a preparation may have, to choose from."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

from nicegui import ui

from llmasos.data.steps import Step
from llmasos.i18n import t, translate
from llmasos.studio.components import parts
from llmasos.studio.components.labelled import labelled
from llmasos.studio.context import Context

_ROOMS = ("cleaning", "linguistics", "filters", "deduplication")


def choose_step(context: Context, add: Callable[[str], None]) -> None:
    """Show the steps; ``add`` gets the name of one that is taken."""
    with ui.dialog() as dialog, parts.sheet().style("max-width: 760px; width: 100%"):
        parts.title_line(2, t("Add a step"))
        wanted = ui.input(label=t("Search")).props("outlined dense clearable debounce=150").classes("w-full")
        place = ui.element("div").classes("steps-on-offer")

        def take(name: str) -> None:
            dialog.close()
            add(name)

        def show() -> None:
            place.clear()
            with place:
                _offer(context, (wanted.value or "").lower(), take)

        wanted.on_value_change(context.handle(show))
        show()
        ui.button(t("Close"), on_click=dialog.close).props("flat no-caps")
    dialog.on("hide", dialog.delete)
    dialog.open()


def _offer(context: Context, wanted: str, take: Callable[[str], None]) -> None:
    titles = {
        "cleaning": t("Cleaning"), "linguistics": t("Words and sentences"), "filters": t("Filters"),
        "deduplication": t("The whole data set"),
    }  # fmt: skip
    found = False
    for room in _ROOMS:
        steps = [(name, text) for name, text in _steps(room) if wanted in f"{name} {text}".lower()]
        if not steps:
            continue
        found = True
        parts.title_line(3, titles[room])
        for name, text in steps:
            with ui.element("div").classes("line apart listed"):
                with ui.element("div").classes("named"):
                    ui.label(name).classes("mono")
                    ui.label(text).classes("small soft")
                button = ui.button(t("Add"), icon="add", on_click=context.handle(lambda name=name: take(name)))
                labelled(button.props("flat no-caps"), t("Add {name}", name=name))
    if not found:
        ui.label(t("No step matches.")).classes("soft")


def _steps(room: str) -> list[tuple[str, str]]:
    """Names and descriptions of the steps that a folder of the code has."""
    members: tuple[Any, ...] = typing.get_args(typing.get_args(Step)[0])
    return [
        (member.model_fields["step"].default, _description(member))
        for member in members
        if member.__module__.split(".")[2] == room
    ]


def _description(member: type) -> str:
    return translate(inspect.cleandoc(member.__doc__ or "").split("\n\n")[0].replace("\n", " "))
