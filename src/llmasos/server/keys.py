"""Keys of the API: made once, shown once, stored as a hash in the catalogue."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

from llmasos.errors import InvalidRequest, NotFound, did_you_mean
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.library.database import Database

Scope = Literal["inference", "models", "metrics"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
_SECRET = re.compile(r"lk-([0-9a-f]{8})-([A-Za-z0-9_-]{43})")
_LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key; not the key itself."""

    id: str
    name: str
    scopes: frozenset[str]
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None
    last_used: datetime | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    @property
    def state(self) -> Literal["valid", "expired", "revoked"]:
        """Whether it opens anything now."""
        if self.revoked is not None:
            return "revoked"
        if self.expires is not None and self.expires <= datetime.now(UTC):
            return "expired"
        return "valid"


class KeyStore:
    """The keys in a catalogue."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, name: str, *, scopes: frozenset[str] = frozenset({"inference"}), lifetime: timedelta | None = None,
        requests_per_minute: int | None = None, tokens_per_minute: int | None = None,
    ) -> tuple[Key, str]:  # fmt: skip
        """Make a key.

        Returns:
            What is known of it, and the secret, which cannot be had again.

        Raises:
            InvalidRequest: the name, a scope or a limit is not allowed.
        """
        from llmasos.library.catalogue import time_text
        from llmasos.library.schema import api_keys

        _check(name, scopes, lifetime, requests_per_minute, tokens_per_minute)
        identity, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        now = datetime.now(UTC)
        key = Key(
            identity, name, scopes, now, now + lifetime if lifetime is not None else None,
            requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute,
        )  # fmt: skip
        with self._database.write() as connection:
            connection.execute(
                api_keys.insert().values(
                    id=identity, name=name, hash=_hash(secret), scopes=",".join(sorted(scopes)), created=time_text(now),
                    expires=time_text(key.expires) if key.expires is not None else None,
                    requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute,
                )
            )  # fmt: skip
        return key, f"lk-{identity}-{secret}"

    def list(self) -> list[Key]:
        """All keys, the newest first, revoked and expired ones too."""
        from llmasos.library.schema import api_keys

        with self._database.read() as connection:
            rows = connection.execute(api_keys.select().order_by(api_keys.c.created.desc(), api_keys.c.id)).mappings()
            return [_key(dict(row)) for row in rows]

    def revoke(self, which: str) -> Key:
        """Make a key useless, by its id or its name.

        Raises:
            NotFound: there is no such key.
            InvalidRequest: several valid keys have this name.
        """
        from llmasos.library.catalogue import time_text
        from llmasos.library.schema import api_keys

        keys = self.list()
        found = [key for key in keys if key.id == which] or [
            key for key in keys if key.name == which and key.revoked is None
        ]
        if not found:
            names = [text for key in keys for text in (key.id, key.name)]
            raise NotFound(
                t("there is no key {name!r}", name=which),
                hint=did_you_mean(which, names) or t("`llmasos keys list` shows them."),
            )
        if len(found) > 1:
            raise InvalidRequest(
                t("{count} keys are named {name!r}", count=len(found), name=which),
                hint=t("Name one by its id: {ids}.", ids=", ".join(key.id for key in found)),
            )
        now = time_text(datetime.now(UTC))
        with self._database.write() as connection:
            connection.execute(
                api_keys.update().where(api_keys.c.id == found[0].id, api_keys.c.revoked.is_(None)).values(revoked=now)
            )
        return next(key for key in self.list() if key.id == found[0].id)

    def find(self, secret: str) -> Key | None:
        """The key that a secret belongs to, in whatever state it is."""
        from llmasos.library.schema import api_keys

        parts = _SECRET.fullmatch(secret)
        if parts is None:
            return None
        with self._database.read() as connection:
            row = connection.execute(api_keys.select().where(api_keys.c.id == parts[1])).mappings().first()
        if row is None or not hmac.compare_digest(row["hash"], _hash(parts[2])):
            return None
        return _key(dict(row))

    def any_valid(self) -> bool:
        """Whether there is a key that opens something."""
        return any(key.state == "valid" for key in self.list())

    def touch(self, identity: str) -> None:
        """Note that a key was used now."""
        from llmasos.library.catalogue import time_text
        from llmasos.library.schema import api_keys

        with self._database.write() as connection:
            connection.execute(
                api_keys.update().where(api_keys.c.id == identity).values(last_used=time_text(datetime.now(UTC)))
            )


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _key(row: dict[str, Any]) -> Key:
    times = {
        name: datetime.fromisoformat(row[name]) if row[name] else None for name in ("expires", "revoked", "last_used")
    }
    return Key(
        row["id"], row["name"], frozenset(row["scopes"].split(",")), datetime.fromisoformat(row["created"]),
        requests_per_minute=row["requests_per_minute"], tokens_per_minute=row["tokens_per_minute"], **times,
    )  # fmt: skip


def _check(
    name: str, scopes: frozenset[str], lifetime: timedelta | None, requests: int | None, tokens: int | None
) -> None:
    lines = []
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        lines.append(t("{name} = {value}: allowed is {allowed}", name="name", value=repr(name),
                       allowed=t("a text of 1 to {limit} printable characters", limit=_LONGEST_NAME)))  # fmt: skip
    unknown = sorted(scopes - set(SCOPES))
    if unknown or not scopes:
        lines.append(t("{name} = {value}: allowed is {allowed}", name="scopes", value=", ".join(unknown) or "-",
                       allowed=", ".join(SCOPES)))  # fmt: skip
    if lifetime is not None and lifetime <= timedelta(0):
        lines.append(t("{name} = {value}: allowed is {allowed}", name="expires", value=lifetime,
                       allowed=t("a time in the future")))  # fmt: skip
    for label, value in (("requests_per_minute", requests), ("tokens_per_minute", tokens)):
        if value is not None and value < 1:
            lines.append(t("{name} = {value}: allowed is {allowed}", name=label, value=value,
                           allowed=t("a whole number from {low}", low=1)))  # fmt: skip
    if lines:
        raise InvalidRequest("\n".join(lines), hint=t("`llmasos keys new --help` shows what is allowed."))
