"""``llmasos users``: who may sign in to the Studio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from llmasos.cli.asking import secret
from llmasos.cli.output import Column, Output
from llmasos.errors import InvalidRequest, did_you_mean
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.studio.accounts.users import Role, User, UserStore

app = typer.Typer()

_ACTIONS = ("list", "add", "remove", "password", "role")


@app.command("users")
def users(
    action: Annotated[str, typer.Argument(metavar="list|add|remove|password|role", help=t("What to do."))],
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help=t("Name of the person."))] = None,
    role: Annotated[
        str | None,
        typer.Option(
            metavar="admin|member", help=t("What they may do; default for a new one: member."), show_default=False
        ),
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help=t("Read the password or token from standard input."))
    ] = False,
    json: Annotated[bool, typer.Option("--json", help=t("Write JSON."))] = False,
) -> None:
    """List, add and remove the people who may sign in to the Studio; give them another password or role.

    Members use everything. Admins also manage people, keys, settings and the removal of models. Whatever changes a
    person ends their sessions; a running Studio sees it within five seconds.
    """  # fmt: skip
    from llmasos.library.store import Library
    from llmasos.studio.accounts.passwords import Passwords
    from llmasos.studio.accounts.users import UserStore

    if action not in _ACTIONS:
        raise InvalidRequest(
            t("{what!r} cannot be done with users; allowed: {allowed}", what=action, allowed=", ".join(_ACTIONS)),
            hint=did_you_mean(action, _ACTIONS),
        )
    out = Output(json=json)
    store = UserStore(Library().catalogue.database, Passwords())
    if action == "list":
        _list(out, store)
        return
    if name is None:
        raise InvalidRequest(
            t("`llmasos users {action}` needs a name", action=action), hint=t("`llmasos users --help` shows how.")
        )
    if role is not None and action not in ("add", "role"):
        raise InvalidRequest(t("`llmasos users {action}` takes no role", action=action))
    if action == "remove":
        user = store.remove(name)
        message = t("{name} cannot sign in any more.", name=user.name)
    elif action == "role":
        if role is None:
            raise InvalidRequest(t("no role is given"), hint=t("Pass {flag}.", flag="--role"))
        user = store.set_role(name, cast("Role", role))
        message = t("{name} is {role} now.", name=user.name, role=_role(user))
    elif action == "password":
        store.get(name)
        user = store.set_password(name, secret(t("New password"), password_stdin, twice=True))
        message = t("{name} has another password.", name=user.name)
    else:
        user = store.add(name, secret(t("Password"), password_stdin, twice=True), cast("Role", role or "member"))
        message = t("{name} can sign in, as {role}.", name=user.name, role=_role(user))
    out.result(_facts(user), lambda: out.print(message))


def _list(out: Output, store: UserStore) -> None:
    found = store.list()

    def table() -> None:
        if not found:
            out.print(t("There are no users. `llmasos users add NAME --role admin` makes the first."))
            return
        out.table(
            [Column(t("Name")), Column(t("Role")), Column(t("Created")), Column(t("Last signed in"))],
            [[user.name, _role(user), _time(user.created), _time(user.signed_in)] for user in found],
        )

    out.result([_facts(user) for user in found], table)


def _role(user: User) -> str:
    return t("admin") if user.is_admin else t("member")


def _time(moment: Any) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M") if moment is not None else "-"


def _facts(user: User) -> dict[str, Any]:
    return {"name": user.name, "role": user.role, "created": user.created, "signed_in": user.signed_in}
