"""The people who may sign in, kept in the catalogue."""

from __future__ import annotations

import secrets
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from llmasos.errors import AlreadyExists, InUse, InvalidRequest, NotFound, did_you_mean
from llmasos.i18n import t
from llmasos.studio.accounts.passwords import Passwords, check_new

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from llmasos.library.database import Database

Role = Literal["admin", "member"]
ROLES: tuple[Role, ...] = get_args(Role)
LONGEST_NAME = 64
LONGEST_FOLDED = 256
"""One character may stand for several."""


@dataclass(frozen=True, slots=True)
class User:
    """What is known of a person; not the password's hash."""

    id: str
    name: str
    role: Role
    created: datetime
    signed_in: datetime | None = None

    @property
    def is_admin(self) -> bool:
        """Whether they may manage people, keys, models and settings."""
        return self.role == "admin"


def folded(name: str) -> str:
    """What two names have in common that are the same to people."""
    return unicodedata.normalize("NFKC", name).casefold().strip()


class UserStore:
    """The people of a catalogue. Whatever changes a person ends their sessions.

    Args:
        database: the catalogue.
        passwords: hashes them.
    """

    def __init__(self, database: Database, passwords: Passwords) -> None:
        self._database, self._passwords = database, passwords

    def list(self) -> list[User]:
        """Everybody, by name."""
        from llmasos.library.schema import users

        with self._database.read() as connection:
            rows = connection.execute(users.select().order_by(users.c.folded)).mappings()
            return [user_of(dict(row)) for row in rows]

    def any(self) -> bool:
        """Whether there is anybody."""
        from sqlalchemy import select

        from llmasos.library.schema import users

        with self._database.read() as connection:
            return connection.execute(select(users.c.id).limit(1)).first() is not None

    def get(self, name: str) -> User:
        """The person of a name.

        Raises:
            NotFound: there is none.
        """
        for user in self.list():
            if folded(user.name) == folded(name):
                return user
        raise NotFound(
            t("there is no user {name!r}", name=name),
            hint=did_you_mean(name, [user.name for user in self.list()]) or t("`llmasos users list` shows them."),
        )

    def add(self, name: str, password: str, role: Role = "member", *, first: bool = False) -> User:
        """Let a person sign in.

        Args:
            first: only if there is nobody yet.

        Raises:
            InvalidRequest: name, password or role are not allowed, or the first one would not be an admin.
            AlreadyExists: the name is taken, or there is somebody and ``first`` was asked for.
        """
        from llmasos.library.catalogue import time_text
        from llmasos.library.schema import users

        name = name.strip()
        _check(name, role)
        check_new(password, name)
        hashed = self._passwords.hash(password)
        user = User(secrets.token_hex(8), name, role, datetime.now(UTC))
        with self._database.write() as connection:
            present = [row.folded for row in connection.execute(users.select())]
            if present and first:
                raise AlreadyExists(t("there are users already"), hint=t("Ask one of the admins to add you."))
            if not present and role != "admin":
                raise InvalidRequest(
                    t("the first user must be an admin"), hint=t("Add the admin first: `--role admin`.")
                )
            if folded(name) in present:
                raise AlreadyExists(t("there is a user {name!r} already", name=name), hint=t("Choose another name."))
            connection.execute(
                users.insert().values(
                    id=user.id, name=name, folded=folded(name), role=role, password=hashed,
                    created=time_text(user.created),
                )
            )  # fmt: skip
        return user

    def remove(self, name: str) -> User:
        """Take a person's right to sign in.

        Raises:
            NotFound: there is nobody of this name.
            InUse: they are the only admin.
        """
        from llmasos.library.schema import users

        user = self.get(name)
        with self._database.write() as connection:
            _keep_an_admin(connection, user)
            connection.execute(users.delete().where(users.c.id == user.id))
        return user

    def set_role(self, name: str, role: Role) -> User:
        """Give a person another role.

        Raises:
            NotFound: there is nobody of this name.
            InvalidRequest: there is no such role.
            InUse: they are the only admin.
        """
        from llmasos.library.schema import users

        user = self.get(name)
        _check(user.name, role)
        with self._database.write() as connection:
            if role != "admin":
                _keep_an_admin(connection, user)
            connection.execute(users.update().where(users.c.id == user.id).values(role=role))
            _end_sessions(connection, user.id)
        return self.get(name)

    def set_password(self, name: str, password: str) -> User:
        """Give a person another password.

        Raises:
            NotFound: there is nobody of this name.
            InvalidRequest: the password is not allowed.
        """
        from llmasos.library.schema import users

        user = self.get(name)
        check_new(password, user.name)
        hashed = self._passwords.hash(password)
        with self._database.write() as connection:
            connection.execute(users.update().where(users.c.id == user.id).values(password=hashed))
            _end_sessions(connection, user.id)
        return user

    def check(self, name: str, password: str) -> User | None:
        """The person, if the password is right. An unknown name takes the same way as a known one."""
        from llmasos.library.schema import users

        with self._database.read() as connection:
            row = connection.execute(users.select().where(users.c.folded == folded(name))).mappings().first()
        hashed = row["password"] if row is not None else None
        if not self._passwords.is_right(password, hashed) or row is None:
            return None
        if self._passwords.is_outdated(row["password"]):
            with self._database.write() as connection:
                connection.execute(
                    users.update()
                    .where(users.c.id == row["id"], users.c.password == row["password"])
                    .values(password=self._passwords.hash(password))
                )
        return user_of(dict(row))


def user_of(row: dict[str, Any]) -> User:
    """A person from a row of the table."""
    signed_in = datetime.fromisoformat(row["signed_in"]) if row["signed_in"] else None
    return User(row["id"], row["name"], row["role"], datetime.fromisoformat(row["created"]), signed_in)


def _keep_an_admin(connection: Connection, user: User) -> None:
    from llmasos.library.schema import users

    admins = {row.id for row in connection.execute(users.select().where(users.c.role == "admin"))}
    if admins == {user.id}:
        raise InUse(t("{name} is the only admin", name=user.name), hint=t("Make somebody else an admin first."))


def _end_sessions(connection: Connection, user: str) -> None:
    from llmasos.library.schema import sessions

    connection.execute(sessions.delete().where(sessions.c.user == user))


def _check(name: str, role: str) -> None:
    lines = []
    same = folded(name)
    if not same or len(name) > LONGEST_NAME or len(same) > LONGEST_FOLDED or not name.isprintable():
        lines.append(t("{name} = {value}: allowed is {allowed}", name="name", value=repr(name[:LONGEST_NAME + 1]),
                       allowed=t("a text of 1 to {limit} printable characters", limit=LONGEST_NAME)))  # fmt: skip
    if role not in ROLES:
        lines.append(t("{name} = {value}: allowed is {allowed}", name="role", value=repr(role),
                       allowed=", ".join(ROLES)))  # fmt: skip
    if lines:
        raise InvalidRequest("\n".join(lines), hint=t("`llmasos users --help` shows what is allowed."))
