"""Where models come from and go to: registries, the Hugging Face hub, the package index; and who we are there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from nicegui import ui

from llmasos.errors import InvalidRequest
from llmasos.i18n import t
from llmasos.library.sources import hub
from llmasos.library.sources.masking import mask_url
from llmasos.library.sources.oci import check_sign_in
from llmasos.library.sources.oci_credentials import forget_credentials, store_credentials, stored_accounts
from llmasos.library.sources.pip_configuration import read_pip_configuration
from llmasos.library.sources.reference import parse_source, registry_host
from llmasos.settings import get_settings, origin_of
from llmasos.settings_file import change_setting
from llmasos.studio.components import parts
from llmasos.studio.components.confirm import confirm
from llmasos.studio.components.labelled import labelled
from llmasos.studio.context import Context, Handler


class SourcesSection:
    """For admins. What was typed as a secret is never shown again."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._place = ui.element("div").classes("talk")
        self._show()

    def _show(self) -> None:
        self._place.clear()
        with self._place:
            self._registries()
            self._accounts()
            self._hub()
            self._packages()

    def _admin(self, handler: Handler) -> Handler:
        return self._context.handle(handler, admin=True)

    # Registries that are searched

    def _registries(self) -> None:
        with parts.card():
            parts.title_line(2, t("Registries"))
            ui.label(t("OCI registries (host or host/namespace) that a search asks.")).classes("small soft")
            found, origin = get_settings().registries, origin_of("registries")
            fixed = origin.startswith("LLMASOS_")
            if not found:
                ui.label(t("None is searched.")).classes("soft")
            for registry in found:
                with ui.element("div").classes("line apart"):
                    ui.label(registry).classes("mono")
                    if not fixed:
                        self._remove_button(registry, self._forgetting(registry))
            if fixed:
                ui.label(t("The variable {name} decides.", name=origin)).classes("small soft")
                return
            with ui.element("div").classes("line"):
                entered = ui.input(t("Registry")).props("outlined dense spellcheck=false autocapitalize=none")
                entered.style("flex: 1; min-width: 180px")

                def add() -> None:
                    registry = (entered.value or "").strip().removeprefix("oci:").removeprefix("https://").rstrip("/")
                    parse_source(f"oci:{registry}/any")
                    if registry not in get_settings().registries:
                        change_setting("registries", [*get_settings().registries, registry])
                    self._show()

                ui.button(t("Add"), icon="add", on_click=self._admin(add)).props("unelevated no-caps")

    def _forgetting(self, registry: str) -> Callable[[], None]:
        def forget() -> None:
            change_setting("registries", [item for item in get_settings().registries if item != registry])
            self._show()

        return forget

    def _remove_button(self, name: str, do: Callable[[], None]) -> None:
        button = ui.button(icon="delete", on_click=self._admin(do)).props("flat round dense")
        labelled(button, t("Remove {name}", name=name))

    # Accounts at registries

    def _accounts(self) -> None:
        with parts.card():
            with ui.element("div").classes("line apart"):
                parts.title_line(2, t("Accounts at registries"))
                ui.button(t("Sign in to a registry"), icon="login", on_click=self._admin(self._ask)).props(
                    "outline no-caps"
                )
            ui.label(
                t("Kept in a file that only the owner of this machine can read; sent to that host alone.")
            ).classes("small soft")
            accounts = stored_accounts()
            if not accounts:
                ui.label(t("There are none.")).classes("soft")
            for host, name in accounts.items():
                with ui.element("div").classes("line apart"):
                    with ui.element("div"):
                        ui.label(host).classes("mono")
                        ui.label(name).classes("small soft")
                    self._sign_out_button(host, self._leaving(host))

    def _sign_out_button(self, host: str, do: Callable[[], Awaitable[None] | None]) -> None:
        def ask() -> None:
            confirm(
                self._context, t("Sign out of {name}?", name=host), t("The password or token kept here is removed."),
                t("Sign out"), do, admin=True,
            )  # fmt: skip

        button = ui.button(icon="logout", on_click=self._admin(ask)).props("flat round dense")
        labelled(button, t("Sign out of {name}", name=host))

    def _leaving(self, host: str) -> Callable[[], None]:
        def leave() -> None:
            forget_credentials(host)
            self._show()

        return leave

    def _ask(self) -> None:
        with ui.dialog() as dialog, parts.sheet():
            parts.title_line(2, t("Sign in to a registry"))
            host = ui.input(t("Registry (host or host:port)")).props("outlined dense autofocus")
            name = ui.input(t("Name")).props("outlined dense autocomplete=off")
            secret = ui.input(t("Password or token"), password=True).props("outlined dense autocomplete=new-password")

            async def sign_in() -> None:
                where = registry_host((host.value or "").strip())
                if not name.value or not secret.value:
                    raise InvalidRequest(t("name and password are needed"))
                await asyncio.to_thread(check_sign_in, where, name.value, secret.value)
                await asyncio.to_thread(store_credentials, where, name.value, secret.value)
                secret.value = ""
                dialog.close()
                ui.notify(t("signed in to {host} as {name}", host=where, name=name.value))
                self._show()

            self._buttons(dialog, t("Sign in"), sign_in)
        dialog.open()

    def _buttons(self, dialog: ui.dialog, action: str, do: Handler) -> None:
        with ui.element("div").classes("line"):
            ui.button(action, on_click=self._admin(do)).props("unelevated no-caps")
            ui.button(t("Cancel"), on_click=dialog.close).props("flat no-caps")

    # The hub and the package index

    def _hub(self) -> None:
        with parts.card():
            parts.title_line(2, "Hugging Face")
            signed_in = hub.has_token()
            parts.facts([
                (t("Address"), mask_url(hub.endpoint())),
                (t("Account"), t("signed in") if signed_in else t("not signed in")),
            ])  # fmt: skip
            with ui.element("div").classes("line"):
                if signed_in:

                    async def leave() -> None:
                        await asyncio.to_thread(hub.sign_out)
                        self._show()

                    self._sign_out_button("Hugging Face", leave)
                else:
                    ui.button(t("Sign in with a token"), icon="login", on_click=self._admin(self._ask_token)).props(
                        "outline no-caps"
                    )

    def _ask_token(self) -> None:
        with ui.dialog() as dialog, parts.sheet():
            parts.title_line(2, t("Sign in to Hugging Face"))
            token = ui.input(t("Token (from the settings of your account)"), password=True)
            token.props("outlined dense autofocus autocomplete=new-password")

            async def sign_in() -> None:
                if not token.value:
                    raise InvalidRequest(t("an empty password or token"))
                account = await asyncio.to_thread(hub.sign_in, token.value)
                token.value = ""
                dialog.close()
                ui.notify(t("signed in to {host} as {name}", host="Hugging Face", name=account))
                self._show()

            self._buttons(dialog, t("Sign in"), sign_in)
        dialog.open()

    def _packages(self) -> None:
        with parts.card():
            parts.title_line(2, t("PyPI (as pip is configured)"))
            pip = read_pip_configuration()
            for url in (*pip.indexes, *pip.find_links):
                ui.label(mask_url(url)).classes("mono")
            ui.label(t("`pip config` changes it.")).classes("small soft")
