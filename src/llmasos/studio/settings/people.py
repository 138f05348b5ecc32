"""Who may sign in."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import ui

from llmasos.errors import InvalidRequest
from llmasos.i18n import t
from llmasos.studio.accounts.passwords import SHORTEST
from llmasos.studio.accounts.users import User
from llmasos.studio.components import parts
from llmasos.studio.components.confirm import confirm
from llmasos.studio.components.labelled import labelled
from llmasos.studio.context import Context, Handler


class PeopleSection:
    """For admins."""

    def __init__(self, context: Context) -> None:
        self._context, self._door = context, context.platform.door
        with ui.element("div").classes("line apart"):
            parts.title_line(2, t("People"))
            ui.button(t("Add somebody"), icon="person_add", on_click=self._admin(self._ask_new)).props(
                "unelevated no-caps"
            )
        ui.label(
            t("Members use everything. Admins also manage people, keys, settings and the removal of models.")
        ).classes("soft small")
        self._place = ui.element("div").classes("talk")
        self._show()

    def _admin(self, handler: Handler) -> Handler:
        return self._context.handle(handler, admin=True)

    def _show(self) -> None:
        found = self._door.users.list()
        self._place.clear()
        with self._place:
            if not found:
                with parts.empty("group", t("There is nobody yet."), t(
                    "On this machine nobody has to sign in. Add an admin before other machines can reach the server."
                )):  # fmt: skip
                    pass
            for user in found:
                self._one(user)

    def _one(self, user: User) -> None:
        with parts.card(), ui.element("div").classes("line apart"):
            with ui.element("div"):
                parts.title_line(3, user.name)
                seen = user.signed_in.astimezone().strftime("%Y-%m-%d %H:%M") if user.signed_in else t("never")
                ui.label(t("last signed in: {when}", when=seen)).classes("small soft")
            with ui.element("div").classes("line").style("width: auto"):
                parts.pill(t("admin") if user.is_admin else t("member"), "alive" if user.is_admin else "plain")
                role = t("Make {name} a member", name=user.name) if user.is_admin else t("Make {name} an admin",
                                                                                         name=user.name)  # fmt: skip
                self._icon("shield" if user.is_admin else "add_moderator", role, lambda: self._ask_role(user))
                self._icon("key", t("New password for {name}", name=user.name), lambda: self._ask_password(user))
                self._icon("delete", t("Remove {name}", name=user.name), lambda: self._ask_removal(user))

    def _icon(self, icon: str, label: str, do: Callable[[], None]) -> None:
        button = labelled(ui.button(icon=icon, on_click=self._admin(do)).props("flat round dense"), label)
        with button:
            ui.tooltip(label)

    def _ask_new(self) -> None:
        with ui.dialog() as dialog, parts.sheet():
            parts.title_line(2, t("Add somebody"))
            name = ui.input(t("Name")).props("outlined dense autofocus autocomplete=off")
            roles = {"member": t("member"), "admin": t("admin")}
            first = not self._door.users.any()
            role = ui.select(roles, value="admin" if first else "member", label=t("Role")).props("outlined dense")
            password, again = _new_password()

            async def add() -> None:
                secret = _same(password.value, again.value)
                who, what = name.value or "", role.value
                await self._door.change(lambda: self._door.users.add(who, secret, what))
                dialog.close()
                self._show()

            self._buttons(dialog, t("Add"), add)
        dialog.open()

    def _ask_password(self, user: User) -> None:
        with ui.dialog() as dialog, parts.sheet():
            parts.title_line(2, t("New password for {name}", name=user.name))
            ui.label(t("It signs them out everywhere."))
            password, again = _new_password()

            async def change() -> None:
                secret = _same(password.value, again.value)
                await self._door.change(lambda: self._door.users.set_password(user.name, secret))
                dialog.close()
                ui.notify(t("{name} has another password.", name=user.name))

            self._buttons(dialog, t("Change"), change)
        dialog.open()

    def _ask_role(self, user: User) -> None:
        question = t("Make {name} a member?", name=user.name) if user.is_admin else t("Make {name} an admin?",
                                                                                      name=user.name)  # fmt: skip

        async def change() -> None:
            await self._door.change(
                lambda: self._door.users.set_role(user.name, "member" if user.is_admin else "admin")
            )
            self._show()

        confirm(self._context, question, t("It signs them out everywhere."), t("Change"), change, admin=True)

    def _ask_removal(self, user: User) -> None:
        async def remove() -> None:
            await self._door.change(lambda: self._door.users.remove(user.name))
            self._show()

        confirm(
            self._context, t("Remove {name}?", name=user.name), t("They cannot sign in any more. Their work stays."),
            t("Remove"), remove, admin=True,
        )  # fmt: skip

    def _buttons(self, dialog: ui.dialog, action: str, do: Handler) -> None:
        with ui.element("div").classes("line"):
            ui.button(action, on_click=self._admin(do)).props("unelevated no-caps")
            ui.button(t("Cancel"), on_click=dialog.close).props("flat no-caps")


def _new_password() -> tuple[ui.input, ui.input]:
    hint = t("At least {count} characters.", count=SHORTEST)
    fields = [ui.input(label, password=True) for label in (t("New password"), t("New password again"))]
    for field in fields:
        field.props("outlined dense autocomplete=new-password")
    fields[0].props["hint"] = hint
    return fields[0], fields[1]


def _same(password: str | None, again: str | None) -> str:
    if (password or "") != (again or ""):
        raise InvalidRequest(t("the two new passwords differ"), hint=t("Write the same one twice."))
    return password or ""
