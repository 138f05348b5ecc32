"""Settings: what each person chooses, and what admins manage."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import ui

from llmasos.i18n import t
from llmasos.studio.components import parts
from llmasos.studio.components.keys import Keys
from llmasos.studio.context import Context
from llmasos.studio.page import Page
from llmasos.studio.settings.general import general
from llmasos.studio.settings.people import PeopleSection
from llmasos.studio.settings.sources import SourcesSection
from llmasos.studio.settings.storage_section import StorageSection
from llmasos.studio.settings.values import ValuesSection

Section = tuple[str, Callable[[Context], object]]


def build(context: Context) -> None:
    """The page."""
    with parts.heading(t("Settings"), t("What you choose for yourself, and what admins manage.")):
        pass
    sections: list[Section] = [(t("General"), general), (t("Storage"), StorageSection)]
    if context.visitor.is_admin:
        sections += [
            (t("Sources"), SourcesSection), (t("Keys"), _keys), (t("People"), PeopleSection),
            (t("All settings"), ValuesSection),
        ]  # fmt: skip
    with ui.tabs().props("align=left inline-label mobile-arrows").classes("w-full") as tabs:
        entries = [ui.tab(name) for name, _ in sections]
    with ui.tab_panels(tabs, value=entries[0], animated=False).classes("w-full settings"):
        for entry, (_, show) in zip(entries, sections, strict=True):
            with ui.tab_panel(entry):
                place = ui.element("div").classes("talk")
                _when_shown(context, tabs, entry, place, show)


def _when_shown(
    context: Context, tabs: ui.tabs, entry: ui.tab, place: ui.element, show: Callable[[Context], object]
) -> None:
    """Fill a section when it is looked at for the first time: some look through the whole disk."""
    filled = False

    def fill() -> None:
        nonlocal filled
        if filled or tabs.value not in (entry, entry.props["name"]):
            return
        filled = True
        with place:
            show(context)

    tabs.on_value_change(context.handle(fill))
    fill()


def _keys(context: Context) -> None:
    with ui.element("div").classes("line apart"):
        parts.title_line(2, t("Keys"))
        button = ui.element("div")
    Keys(context, button)


PAGE = Page("/settings", lambda: t("Settings"), "settings", build)
