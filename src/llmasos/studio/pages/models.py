"""Models: what is in the library, and what the catalogue offers, with its download."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import ui

from llmasos.errors import LicenseNotAccepted
from llmasos.i18n import t
from llmasos.library import builtin
from llmasos.library.builtin import BuiltinModel
from llmasos.library.kind import Kind
from llmasos.library.version import VersionRow
from llmasos.studio import address
from llmasos.studio.components import parts
from llmasos.studio.components.labelled import labelled
from llmasos.studio.components.later import later
from llmasos.studio.components.transfer_line import TransferLine
from llmasos.studio.context import Context, tell
from llmasos.studio.page import Page
from llmasos.studio.transfers import Transfer
from llmasos.units import format_bytes, format_count


def build(context: Context) -> None:
    """The page: the library at once, the catalogue a moment later."""
    with parts.heading(t("Models"), t("What is on this machine, and what can be had.")):
        with ui.link(target=address.compare_models()).classes("way"):
            ui.icon("compare", size="20px").props("aria-hidden=true")
            ui.label(t("Compare"))
        wanted = ui.input(placeholder=t("Search"), on_change=context.handle(lambda: show())).props(
            f'outlined dense clearable debounce=200 aria-label="{t("Search")}"'
        )
    here = ui.element("div").classes("talk")
    offered = ui.element("div").classes("talk")

    def text() -> str:
        return (wanted.value or "").strip().lower()

    def show() -> None:
        here.clear()
        with here:
            _library(context, text())
        offered.clear()
        with offered:
            parts.title_line(2, t("Catalogue"))
            later(context, builtin.entries, lambda entries: _catalogue(context, entries, text(), show))

    show()


def _library(context: Context, text: str) -> None:
    rows = [row for row in context.platform.library.versions() if row.names and row.kind != Kind.REPORT.value]
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
                    if len(row.names) > 1:
                        parts.pill(t("{count} names", count=len(row.names)))


def _words(row: VersionRow) -> str:
    words = (*row.names, row.kind, row.task_family, row.architecture, row.license, row.description)
    return " ".join(word for word in words if word).lower()


def _catalogue(context: Context, entries: tuple[BuiltinModel, ...], text: str, refresh: Callable[[], None]) -> None:
    here = set(context.platform.library.names())
    wanted = [
        entry
        for entry in entries
        if entry.name not in here and text in f"{entry.name} {entry.title} {entry.task} {entry.description}".lower()
    ]
    if not wanted:
        ui.label(t("Nothing in the catalogue matches.") if text else t("All of it is here.")).classes("soft")
        return
    with ui.element("div").classes("grid"):
        for entry in wanted:
            _Offer(context, entry, refresh)


class _Offer:
    """A model of the catalogue, with its download."""

    def __init__(self, context: Context, entry: BuiltinModel, refresh: Callable[[], None]) -> None:
        self._context, self._entry, self._refresh = context, entry, refresh
        with parts.card():
            parts.title_line(3, entry.name)
            ui.label(entry.description).classes("small soft")
            with ui.element("div").classes("line"):
                facts = (entry.task, format_count(entry.parameters), format_bytes(entry.download), entry.license)
                for fact in filter(None, facts):
                    parts.pill(fact)
            self._place = ui.element("div").classes("talk")
        transfer = context.platform.transfers.of(entry.name)
        if transfer is not None and transfer.outcome == "running":
            self._watch(transfer)
        else:
            self._offer()

    def _offer(self) -> None:
        self._place.clear()
        with self._place:
            button = ui.button(t("Download"), icon="download", on_click=self._context.handle(self._pull))
            labelled(button.props("unelevated no-caps color=primary"), t("Download {name}", name=self._entry.name))

    def _pull(self, *, accept_license: bool = False) -> None:
        self._watch(self._context.platform.transfers.start(self._entry.name, accept_license=accept_license))

    def _watch(self, transfer: Transfer) -> None:
        self._place.clear()
        with self._place:
            TransferLine(self._context, transfer, t("Download of {name}", name=self._entry.name), self._ended)

    def _ended(self, transfer: Transfer) -> None:
        if transfer.error is None:
            ui.notify(t("{name} is here.", name=self._entry.name), type="positive")
            self._context.platform.service.names.forget()
            self._refresh()
            return
        self._offer()
        if isinstance(transfer.error, LicenseNotAccepted):
            with self._place:
                self._ask(transfer.error)
        else:
            tell(transfer.error)

    def _ask(self, error: LicenseNotAccepted) -> None:
        """A licence that binds its user is put before the person."""
        title = t("Licence of {name}", name=self._entry.name)
        with labelled(ui.dialog(), title) as dialog, parts.sheet():
            parts.title_line(2, title)
            ui.label(error.message)

            def accept() -> None:
                dialog.close()
                self._pull(accept_license=True)

            with ui.element("div").classes("line"):
                ui.button(t("Accept and download"), on_click=self._context.handle(accept)).props("unelevated no-caps")
                ui.button(t("Cancel"), on_click=dialog.close).props("flat no-caps")
        dialog.open()


PAGE = Page("/models", lambda: t("Models"), "view_in_ar", build)
