"""Sessions: what a browser has after signing in. The store knows their hashes alone."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from llmasos.studio.accounts.users import User, user_of

if TYPE_CHECKING:
    from llmasos.library.database import Database

IDLE = timedelta(hours=12)
"""Without being used, a session ends after this time."""
ABSOLUTE = timedelta(days=7)
"""Used or not, a session ends after this time."""
_BETWEEN_NOTES = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who has signed in.

    Attributes:
        id: hash of the secret that the browser has.
    """

    id: str
    user: User
    began: datetime
    used: datetime


def identity(secret: str) -> str:
    """What the store knows of a secret: it has 256 random bits, so that a plain hash cannot be guessed back."""
    return hashlib.sha256(secret.encode()).hexdigest()


class SessionStore:
    """The sessions of a catalogue.

    Args:
        database: the catalogue.
        clock: the time now.
    """

    def __init__(self, database: Database, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database, self._clock = database, clock

    def begin(self, user: User) -> str:
        """A new session; returns its secret, which no other session ever had."""
        from llmasos.library.catalogue import time_text
        from llmasos.library.schema import sessions, users

        secret, now = secrets.token_urlsafe(32), self._clock()
        with self._database.write() as connection:
            connection.execute(
                sessions.delete().where(
                    (sessions.c.began < time_text(now - ABSOLUTE)) | (sessions.c.used < time_text(now - IDLE))
                )
            )
            connection.execute(
                sessions.insert().values(id=identity(secret), user=user.id, began=time_text(now), used=time_text(now))
            )
            connection.execute(users.update().where(users.c.id == user.id).values(signed_in=time_text(now)))
        return secret

    def find(self, session: str) -> Session | None:
        """The session of an :func:`identity`, if it has not ended; with the person as they are now."""
        from sqlalchemy import select

        from llmasos.library.schema import sessions, users

        columns = (sessions.c.began, sessions.c.used, *users.c)
        question = select(*columns).join(users, users.c.id == sessions.c.user).where(sessions.c.id == session)
        with self._database.read() as connection:
            row = connection.execute(question).mappings().first()
        if row is None:
            return None
        began, used = datetime.fromisoformat(row["began"]), datetime.fromisoformat(row["used"])
        now = self._clock()
        if now - began >= ABSOLUTE or now - used >= IDLE:
            return None
        return Session(session, user_of(dict(row)), began, used)

    def use(self, session: Session) -> None:
        """Note that somebody does something; once a minute is enough."""
        from llmasos.library.catalogue import time_text
        from llmasos.library.schema import sessions

        now = self._clock()
        if now - session.used < _BETWEEN_NOTES:
            return
        with self._database.write() as connection:
            connection.execute(sessions.update().where(sessions.c.id == session.id).values(used=time_text(now)))

    def end(self, session: str) -> None:
        """Make a session useless."""
        from llmasos.library.schema import sessions

        with self._database.write() as connection:
            connection.execute(sessions.delete().where(sessions.c.id == session))
