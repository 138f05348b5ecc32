"""``llmasos keys``: keys of the API server."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmasos.cli.output import Column, Output
from llmasos.errors import InvalidRequest, did_you_mean
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.server.keys import Key, KeyStore

app = typer.Typer()

_ACTIONS = ("new", "list", "revoke")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@app.command("keys")
def keys(
    action: Annotated[str, typer.Argument(metavar="new|list|revoke", help=t("What to do."))],
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help=t("Name of the new key; name or id of the one to revoke."))
    ] = None,
    scopes: Annotated[
        str, typer.Option(help=t("What the key opens: inference, models (pull, create, delete), metrics; with commas."))
    ] = "inference",
    expires: Annotated[
        str | None, typer.Option(metavar="30d", help=t("How long it is valid: minutes m, hours h, days d, weeks w."))
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help=t("Most requests in a minute."))] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help=t("Most tokens in a minute."))] = None,
    json: Annotated[bool, typer.Option("--json", help=t("Write JSON."))] = False,
) -> None:
    """Make, list and revoke keys of the API server.

    The secret is shown once, when the key is made. A running server sees changes within five seconds.
    """
    from llmasos.library.store import Library
    from llmasos.server.keys import KeyStore

    if action not in _ACTIONS:
        raise InvalidRequest(
            t("{what!r} cannot be done with keys; allowed: {allowed}", what=action, allowed=", ".join(_ACTIONS)),
            hint=did_you_mean(action, _ACTIONS),
        )
    out = Output(json=json)
    store = KeyStore(Library().catalogue.database)
    if action == "list":
        _list(out, store)
        return
    if name is None:
        raise InvalidRequest(
            t("`llmasos keys {action}` needs a name", action=action), hint=t("`llmasos keys --help` shows an example.")
        )
    if action == "revoke":
        key = store.revoke(name)
        out.result(_facts(key), lambda: out.print(t("The key {name} ({id}) is revoked.", name=key.name, id=key.id)))
        return
    key, secret = store.create(
        name,
        scopes=frozenset(part.strip() for part in scopes.split(",") if part.strip()),
        lifetime=None if expires is None else _duration(expires),
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
    )
    out.note(t("Keep it: it is not shown again."))
    out.result({**_facts(key), "key": secret}, lambda: out.print(secret))


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    if match is None:
        raise InvalidRequest(
            t("{name} = {value}: allowed is {allowed}", name="--expires", value=repr(text),
              allowed=t("a number with m, h, d or w, such as 30d"))
        )  # fmt: skip
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _list(out: Output, store: KeyStore) -> None:
    found = store.list()

    def table() -> None:
        if not found:
            out.print(t("There are no keys. `llmasos keys new NAME` makes one."))
            return
        out.table(
            [Column(t("Id")), Column(t("Name")), Column(t("State")), Column(t("Scopes")), Column(t("Created")),
             Column(t("Expires")), Column(t("Last used")), Column(t("Limits"))],
            [[key.id, key.name, _state(key), ", ".join(sorted(key.scopes)), _time(key.created), _time(key.expires),
              _time(key.last_used), _limits(key)] for key in found],
        )  # fmt: skip

    out.result([_facts(key) for key in found], table)


def _state(key: Key) -> str:
    return {"valid": t("valid"), "expired": t("expired"), "revoked": t("revoked")}[key.state]


def _time(moment: Any) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M") if moment is not None else "-"


def _limits(key: Key) -> str:
    parts = []
    if key.requests_per_minute is not None:
        parts.append(t("{count} requests/min", count=key.requests_per_minute))
    if key.tokens_per_minute is not None:
        parts.append(t("{count} tokens/min", count=key.tokens_per_minute))
    return ", ".join(parts) or "-"


def _facts(key: Key) -> dict[str, Any]:
    return {
        "id": key.id, "name": key.name, "state": key.state, "scopes": sorted(key.scopes), "created": key.created,
        "expires": key.expires, "revoked": key.revoked, "last_used": key.last_used,
        "requests_per_minute": key.requests_per_minute, "tokens_per_minute": key.tokens_per_minute,
    }  # fmt: skip
