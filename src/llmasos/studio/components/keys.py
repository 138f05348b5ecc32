"""Keys of the APIs."""

from __future__ import annotations

from datetime import timedelta

from nicegui import ui

from llmasos.i18n import t
from llmasos.server.keys import Key, KeyStore
from llmasos.studio.components import parts
from llmasos.studio.components.labelled import labelled
from llmasos.studio.context import Context

_STATES: dict[str, parts.Tone] = {"valid": "good", "expired": "warn", "revoked": "bad"}


class Keys:
    """Made, shown once, revoked; by admins.

    Args:
        context: the platform.
        beside_the_title: where the button is put.
    """

    def __init__(self, context: Context, beside_the_title: ui.element) -> None:
        self._context = context
        self._store = KeyStore(context.platform.library.catalogue.database)
        if context.visitor.is_admin:
            with beside_the_title:
                ui.button(t("New key"), icon="key", on_click=context.handle(self._ask, admin=True)).props(
                    "unelevated no-caps"
                )
        ui.label(t("As soon as one key is valid, every program needs one.")).classes("soft small")
        self._place = ui.element("div").classes("talk")
        self._show()

    def _show(self) -> None:
        self._place.clear()
        with self._place:
            keys = self._store.list()
            if not keys:
                local = self._context.platform.service.configuration.is_loopback
                ui.label(
                    t("There are no keys: every program on this machine may ask.")
                    if local
                    else t("There are no keys: no program may ask yet.")
                ).classes("soft")
            for key in keys:
                self._one(key)

    def _one(self, key: Key) -> None:
        with parts.card(), ui.element("div").classes("line apart"):
            with ui.element("div"):
                parts.title_line(3, key.name)
                used = key.last_used.astimezone().strftime("%Y-%m-%d %H:%M") if key.last_used else t("never")
                ui.label(t("{id} · last used {when}", id=key.id, when=used)).classes("small soft")
            with ui.element("div").classes("line").style("width: auto"):
                names = {"valid": t("valid"), "expired": t("expired"), "revoked": t("revoked")}
                parts.pill(names[key.state], _STATES[key.state])
                if key.state == "valid" and self._context.visitor.is_admin:
                    revoke = self._context.handle(lambda: self._revoke(key), admin=True)
                    labelled(
                        ui.button(icon="block", on_click=revoke).props("flat round dense"),
                        t("Revoke {name}", name=key.name),
                    )

    def _ask(self) -> None:
        with ui.dialog() as dialog, parts.sheet():
            parts.title_line(2, t("New key"))
            name = ui.input(t("Name")).props("outlined dense autofocus")
            days = ui.number(t("Days it is valid; empty: for ever"), min=1, step=1).props("outlined dense")
            limit = ui.number(t("Requests in a minute; empty: any"), min=1, step=1).props("outlined dense")

            def make() -> None:
                _, secret = self._store.create(
                    name.value or "", lifetime=timedelta(days=days.value) if days.value else None,
                    requests_per_minute=int(limit.value) if limit.value else None,
                )  # fmt: skip
                dialog.close()
                self._show()
                self._tell(secret)

            with ui.element("div").classes("line"):
                ui.button(t("Make"), on_click=self._context.handle(make, admin=True)).props("unelevated no-caps")
                ui.button(t("Cancel"), on_click=dialog.close).props("flat no-caps")
        dialog.open()

    def _tell(self, secret: str) -> None:
        with ui.dialog().props("persistent") as dialog, parts.sheet():
            parts.title_line(2, t("Keep it: it is not shown again."))
            ui.label(secret).classes("mono secret")
            with ui.element("div").classes("line"):
                ui.button(t("Copy"), icon="content_copy", on_click=lambda: ui.clipboard.write(secret)).props(
                    "unelevated no-caps"
                )
                ui.button(t("Close"), on_click=dialog.close).props("flat no-caps")
        dialog.open()

    def _revoke(self, key: Key) -> None:
        with ui.dialog() as dialog, parts.sheet():
            parts.title_line(2, t("Revoke {name}?", name=key.name))
            ui.label(t("Programs that use it are refused within five seconds. This cannot be undone."))

            def revoke() -> None:
                dialog.close()
                self._store.revoke(key.id)
                self._show()

            with ui.element("div").classes("line"):
                ui.button(t("Revoke"), color="negative", on_click=self._context.handle(revoke, admin=True)).props(
                    "unelevated no-caps"
                )
                ui.button(t("Cancel"), on_click=dialog.close).props("flat no-caps")
        dialog.open()
