"""All versions of a name on the page of a model: which tag points where, and moving one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nicegui import ui

from llmasos.i18n import t
from llmasos.library.digest import short
from llmasos.library.history import NamedVersion
from llmasos.library.reference import Reference
from llmasos.studio import address
from llmasos.studio.components import parts
from llmasos.studio.components.labelled import labelled
from llmasos.studio.context import Context
from llmasos.units import format_bytes


def show(
    context: Context, name: str, digest: str, versions: Sequence[NamedVersion], changed: Callable[[], None]
) -> None:
    """One line a version, the newest first.

    Args:
        name: under which the versions are known; its tag does not matter.
        digest: of the version whose page this is.
        changed: called after a tag was moved.
    """
    repository = Reference.parse(name).repository
    for version in versions:
        row = version.row
        with ui.element("div").classes("line apart version"):
            with ui.element("div").classes("line").style("width: auto"):
                if row.digest == digest:
                    ui.label(short(row.digest)).classes("mono")
                    parts.pill(t("this one"), "alive")
                else:
                    shown = f"{repository}:{version.tags[0]}" if version.tags else row.digest
                    ui.link(short(row.digest), address.model(shown)).classes("mono")
                for tag in version.tags:
                    parts.pill(tag, "good")
                for tag in version.former:
                    parts.pill(t("was {tag}", tag=tag))
            with ui.element("div").classes("line").style("width: auto"):
                ui.label(f"{row.published:%Y-%m-%d %H:%M} UTC").classes("small soft number")
                ui.label(format_bytes(row.size)).classes("small soft number")
                button = ui.button(
                    t("Restore") if version.former and not version.tags else t("Tag"), icon="sell",
                    on_click=lambda version=version: _ask(context, repository, version, changed),
                ).props("flat dense no-caps")  # fmt: skip
                labelled(button, t("Give {version} a tag", version=short(row.digest)))
    if any(not version.tags for version in versions):
        ui.label(t("Versions without a tag stay until `llmasos gc` removes them.")).classes("small soft")


def _ask(context: Context, repository: str, version: NamedVersion, changed: Callable[[], None]) -> None:
    title = t("A tag for {version}", version=short(version.row.digest))
    with labelled(ui.dialog(), title) as dialog, parts.sheet():
        parts.title_line(2, title)
        ui.label(t("A tag that points at another version moves; that version stays."))
        wanted = ui.input(t("Name and tag"), value=f"{repository}:{(*version.former, 'latest')[0]}")
        wanted.props("outlined dense").classes("w-full")

        def tag() -> None:
            context.platform.library.tag(version.row.digest, (wanted.value or "").strip())
            context.platform.service.names.forget()
            dialog.close()
            ui.notify(t("{name} points at {version}.", name=wanted.value, version=short(version.row.digest)))
            changed()

        with ui.element("div").classes("line"):
            ui.button(t("Set the tag"), on_click=context.handle(tag)).props("unelevated no-caps")
            ui.button(t("Cancel"), on_click=dialog.close).props("flat no-caps")
    dialog.open()
