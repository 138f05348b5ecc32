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

        with place:
            offered = _Offered(context, take)
        wanted.on_value_change(context.handle(lambda: offered.narrow(wanted.value or "")))
        ui.button(t("Close"), on_click=dialog.close).props("flat no-caps")
    dialog.on("hide", dialog.delete)
    dialog.open()


class _Offered:
    """The list. What does not match is hidden and not taken out, so that no click finds its button gone."""

    def __init__(self, context: Context, take: Callable[[str], None]) -> None:
        titles = {
            "cleaning": t("Cleaning"), "linguistics": t("Words and sentences"), "filters": t("Filters"),
            "deduplication": t("The whole data set"),
        }  # fmt: skip
        self._rooms: list[tuple[ui.label, list[tuple[str, ui.element]]]] = []
        for room in _ROOMS:
            title = parts.title_line(3, titles[room])
            self._rooms.append((title, [self._line(context, name, text, take) for name, text in _steps(room)]))
        self._nothing = ui.label(t("No step matches.")).classes("soft")
        self.narrow("")

    def narrow(self, wanted: str) -> None:
        """Show only what has this in its name or description."""
        found = False
        for title, lines in self._rooms:
            here = [(line, wanted.lower() in text) for text, line in lines]
            for line, matches in here:
                line.set_visibility(matches)
            title.set_visibility(any(matches for _, matches in here))
            found = found or title.visible
        self._nothing.set_visibility(not found)

    @staticmethod
    def _line(context: Context, name: str, text: str, take: Callable[[str], None]) -> tuple[str, ui.element]:
        with ui.element("div").classes("line apart listed") as line:
            with ui.element("div").classes("named"):
                ui.label(name).classes("mono")
                ui.label(text).classes("small soft")
            button = ui.button(t("Add"), icon="add", on_click=context.handle(lambda: take(name)))
            labelled(button.props("flat no-caps"), t("Add {name}", name=name))
        return f"{name} {text}".lower(), line


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
