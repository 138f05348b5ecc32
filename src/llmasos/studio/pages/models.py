"""Models: what is in the library, and what the catalogue offers, with its download."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import ui

from llmasos.errors import LicenseNotAccepted
from llmasos.i18n import t
from llmasos.library import builtin
from llmasos.library.builtin import BuiltinModel
from llmasos.library.version import VersionRow
from llmasos.studio import address
from llmasos.studio.components import parts
from llmasos.studio.context import Context, tell
from llmasos.studio.page import Page
from llmasos.units import format_bytes, format_count


def build(context: Context) -> None:
    """The page."""
    with parts.heading(t("Models"), t("What is on this machine, and what can be had.")):
        wanted = ui.input(placeholder=t("Search"), on_change=context.handle(lambda: show())).props(
            f'outlined dense clearable debounce=200 aria-label="{t("Search")}"'
        )
    shown = ui.element("div").classes("talk")

    def show() -> None:
        text = (wanted.value or "").strip().lower()
        shown.clear()
        with shown:
            _library(context, text)
            _catalogue(context, text, show)

    show()


def _library(context: Context, text: str) -> None:
    rows = [row for row in context.platform.library.versions() if row.names]
    rows = [row for row in rows if text in _words(row)]
    parts.title_line(2, t("On this machine"))
    if not rows:
        if text:
            ui.label(t("Nothing in the library matches.")).classes("soft")
        else:
            with parts.empty("inventory_2", t("There is no model yet."), t("Take one of those below.")):
                pass
        return
    with ui.element("div").classes("grid"):
        for row in rows:
            with parts.card_link(address.model(row.names[0])):
                parts.title_line(3, row.names[0])
                if row.description:
                    ui.label(row.description).classes("small soft")
                with ui.element("div").classes("line"):
                    parts.pill(row.task_family or row.kind)
                    if row.parameters:
                        parts.pill(format_count(row.parameters))
                    parts.pill(format_bytes(row.size))
                    if row.license:
                        parts.pill(row.license)


def _words(row: VersionRow) -> str:
    words = (*row.names, row.kind, row.task_family, row.architecture, row.license, row.description)
    return " ".join(word for word in words if word).lower()


def _catalogue(context: Context, text: str, refresh: Callable[[], None]) -> None:
    here = set(context.platform.library.names())
    entries = [
        entry
        for entry in builtin.entries()
        if entry.name not in here and text in f"{entry.name} {entry.title} {entry.task} {entry.description}".lower()
    ]
    parts.title_line(2, t("Catalogue"))
    if not entries:
        ui.label(t("Nothing in the catalogue matches.") if text else t("All of it is here.")).classes("soft")
        return
    with ui.element("div").classes("grid"):
        for entry in entries:
            _offer(context, entry, refresh)


def _offer(context: Context, entry: BuiltinModel, refresh: Callable[[], None]) -> None:
    with parts.card():
        parts.title_line(3, entry.name)
        ui.label(entry.description).classes("small soft")
        with ui.element("div").classes("line"):
            parts.pill(entry.task)
            parts.pill(format_count(entry.parameters))
            parts.pill(format_bytes(entry.download))
            if entry.license:
                parts.pill(entry.license)
        place = ui.element("div").classes("talk")
    transfer = context.platform.transfers.of(entry.name)
    with place:
        if transfer is not None and transfer.outcome == "running":
            _Watch(context, entry, place, refresh)
        else:
            _button(context, entry, place, refresh)


def _button(context: Context, entry: BuiltinModel, place: ui.element, refresh: Callable[[], None]) -> None:
    def pull() -> None:
        context.platform.transfers.start(entry.name)
        place.clear()
        with place:
            _Watch(context, entry, place, refresh)

    ui.button(t("Download"), icon="download", on_click=context.handle(pull)).props(
        f'unelevated no-caps color=primary aria-label="{t("Download {name}", name=entry.name)}"'
    )


class _Watch:
    """Shows a download until it ends."""

    def __init__(self, context: Context, entry: BuiltinModel, place: ui.element, refresh: Callable[[], None]) -> None:
        self._context, self._entry, self._place, self._refresh = context, entry, place, refresh
        self._bar = parts.Bar(t("Download of {name}", name=entry.name))
        self._label = ui.label("").classes("small soft").props("aria-live=polite")
        self._timer = ui.timer(0.5, context.handle(self._look))

    def _look(self) -> None:
        transfer = self._context.platform.transfers.of(self._entry.name)
        assert transfer is not None
        if transfer.outcome == "running":
            self._bar.show(transfer.share)
            size = format_bytes(transfer.completed)
            whole = f"{size} / {format_bytes(transfer.total)}" if transfer.total else size
            self._label.text = whole
            return
        self._timer.cancel()
        if transfer.error is None:
            ui.notify(t("{name} is here.", name=self._entry.name), type="positive")
            self._refresh()
            return
        self._place.clear()
        with self._place:
            _button(self._context, self._entry, self._place, self._refresh)
        if isinstance(transfer.error, LicenseNotAccepted):
            self._ask(transfer.error)
        else:
            tell(transfer.error)

    def _ask(self, error: LicenseNotAccepted) -> None:
        """A licence that binds its user is put before the person."""
        with ui.dialog() as dialog, parts.sheet():
            parts.title_line(2, t("Licence of {name}", name=self._entry.name))
            ui.label(error.message)

            def accept() -> None:
                dialog.close()
                self._context.platform.transfers.start(self._entry.name, accept_license=True)
                self._place.clear()
                with self._place:
                    _Watch(self._context, self._entry, self._place, self._refresh)

            with ui.element("div").classes("line"):
                ui.button(t("Accept and download"), on_click=self._context.handle(accept)).props("unelevated no-caps")
                ui.button(t("Cancel"), on_click=dialog.close).props("flat no-caps")
        dialog.open()


PAGE = Page("/models", lambda: t("Models"), "view_in_ar", build)
