"""Sending a version to a registry, from the page of a model."""

from __future__ import annotations

from nicegui import ui

from llmasos.i18n import t
from llmasos.library.reference import Reference
from llmasos.settings import get_settings
from llmasos.studio.components import parts
from llmasos.studio.components.labelled import labelled
from llmasos.studio.components.transfer_line import TransferLine
from llmasos.studio.context import Context, tell
from llmasos.studio.transfers import Transfer
from llmasos.units import format_bytes


def ask(context: Context, name: str) -> None:
    """Ask where to, and send."""
    title = t("Send {name} to a registry", name=name)
    with labelled(ui.dialog(), title) as dialog, parts.sheet():
        parts.title_line(2, title)
        ui.label(t("It arrives under the same digest. What the registry has already is not sent again.")).classes(
            "soft"
        )
        target = ui.input(t("Place"), value=_suggestion(name), placeholder="oci:host/repository:tag")
        target.props("outlined dense").classes("w-full")
        ui.label(t("Where one has to sign in: `llmasos login HOST` on this machine.")).classes("small soft")
        place = ui.element("div").classes("talk").props("aria-live=polite")

        def send() -> None:
            transfer = context.platform.transfers.push(name, (target.value or "").strip())
            button.disable()
            place.clear()
            with place:
                TransferLine(context, transfer, t("Upload of {name}", name=name), ended)

        def ended(transfer: Transfer) -> None:
            button.enable()
            place.clear()
            if transfer.error is not None:
                tell(transfer.error)
                return
            report = transfer.report
            assert report is not None
            with place:
                parts.pill(t("sent"), "good")
                ui.label(
                    t(
                        "pushed {target}: {uploaded} sent, {present} there already",
                        target=report.target,
                        uploaded=format_bytes(report.uploaded),
                        present=format_bytes(report.present + report.mounted),
                    )
                ).style("overflow-wrap: anywhere")

        with ui.element("div").classes("line"):
            button = ui.button(t("Send"), on_click=context.handle(send, admin=True)).props("unelevated no-caps")
            ui.button(t("Close"), on_click=dialog.close).props("flat no-caps")
    dialog.on("hide", dialog.delete)
    dialog.open()


def _suggestion(name: str) -> str:
    """The same name in the first registry of the settings."""
    registries = get_settings().registries
    if not registries:
        return "oci:"
    reference = Reference.parse(name)
    return f"oci:{registries[0].removeprefix('oci:').rstrip('/')}/{reference.repository}:{reference.tag or 'latest'}"
