"""The door of the Studio: who is in front of a browser, and who has to go."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from llmasos.errors import Forbidden, Unauthorised
from llmasos.i18n import t
from llmasos.server.configuration import ServerConfiguration
from llmasos.settings import get_settings
from llmasos.studio.accounts.attempts import Attempts, Counted
from llmasos.studio.accounts.passwords import Passwords
from llmasos.studio.accounts.sessions import Session, SessionStore, identity
from llmasos.studio.accounts.setup_code import SetupCode
from llmasos.studio.accounts.users import User, UserStore
from llmasos.studio.accounts.visitor import OWNER, Visitor

if TYPE_CHECKING:
    from llmasos.library.database import Database

REMEMBERED_SECONDS = 5.0
"""What another process changes is seen within this time, as for keys."""
FORM_TOKEN = "form_token"  # noqa: S105 - the name of a field
_HASHES_AT_ONCE = 2
"""A password check takes 64 MiB: strangers must not make it take the machine's memory."""

Result = TypeVar("Result")


class Door:
    """Everything about accounts that one server knows.

    Args:
        database: the catalogue.
        configuration: of the server; beyond this machine everybody has to sign in.
        passwords, sessions, attempts: default: with our cost and the machine's clocks.
        clock: seconds.
    """

    def __init__(
        self, database: Database, configuration: ServerConfiguration, *, passwords: Passwords | None = None,
        sessions: SessionStore | None = None, attempts: Attempts | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.users = UserStore(database, passwords or Passwords())
        self.sessions = sessions or SessionStore(database)
        self.attempts = attempts or Attempts()
        self.setup_code: SetupCode | None = None
        self._configuration, self._clock = configuration, clock
        self._secret = secrets.token_bytes(32)
        self._hashing = asyncio.Semaphore(_HASHES_AT_ONCE)
        self._known: dict[str, tuple[float, Session | None]] = {}
        self._anybody: tuple[float, bool] | None = None
        self._leaving: dict[str | None, list[Callable[[], None]]] = {}

    def expect_the_first(self) -> SetupCode | None:
        """Make the code for the first admin, if the server can be reached from elsewhere and there is nobody yet."""
        if not self._configuration.is_loopback and not self.users.any():
            self.setup_code = SetupCode()
        return self.setup_code

    async def has_users(self) -> bool:
        """Whether there is anybody who could sign in."""
        now = self._clock()
        if self._anybody is None or now - self._anybody[0] >= REMEMBERED_SECONDS:
            self._anybody = (now, await asyncio.to_thread(self.users.any))
        return self._anybody[1]

    async def needs_sign_in(self) -> bool:
        """Whether a browser without a session sees nothing."""
        if not self._configuration.is_loopback:
            return True
        return get_settings().studio_sign_in == "always" and await self.has_users()

    async def visitor(self, secret: str | None) -> Visitor | None:
        """Who has a session's secret; ``None``: they have to sign in."""
        if secret:
            session = await self._session(identity(secret))
            if session is not None:
                return Visitor(session.user.name, session.user.role, session.id)
        return None if await self.needs_sign_in() else OWNER

    async def is_still_welcome(self, visitor: Visitor) -> bool:
        """Whether somebody who came in may still be here, as who they were."""
        if visitor.session is None:
            return not await self.needs_sign_in()
        session = await self._session(visitor.session)
        return session is not None and session.user.role == visitor.role

    async def require(self, visitor: Visitor, *, admin: bool = False) -> None:
        """Let somebody do something.

        Raises:
            Unauthorised: they have signed out, or their session has ended.
            Forbidden: they are no admin, and that is needed.
        """
        if not await self.is_still_welcome(visitor):
            raise Unauthorised(t("this session has ended"), hint=t("Sign in again."))
        if admin and not visitor.is_admin:
            raise Forbidden(t("only admins may do this"), hint=t("Ask one of the admins."))

    async def check(self, name: str, password: str, counted: Sequence[Counted]) -> User | None:
        """The person, if name and password are right.

        Raises:
            TooManyRequests: there were too many wrong attempts lately.
        """
        self.attempts.begin(counted)
        async with self._hashing:
            user = await asyncio.to_thread(self.users.check, name, password)
        if user is not None:
            self.attempts.succeeded(counted)
        return user

    async def make_first(self, code: str, name: str, password: str, counted: Sequence[Counted]) -> User:
        """Make the first admin.

        Raises:
            Unauthorised: the code is wrong, or was used.
            InvalidRequest: name or password are not allowed; the code remains good.
            AlreadyExists: there is somebody.
            TooManyRequests: there were too many wrong attempts lately.
        """
        self.attempts.begin(counted)
        expected = self.setup_code
        if expected is None or not expected.is_right(code):
            raise Unauthorised(
                t("the setup code is wrong"), hint=t("It is printed where the server was started, and is good once.")
            )
        self.attempts.succeeded(counted)
        async with self._hashing:
            user = await self.change(lambda: self.users.add(name, password, "admin", first=True))
        expected.use()
        self.setup_code = None
        return user

    async def begin(self, user: User, *, instead_of: str | None = None) -> str:
        """A new session; the one that the browser had ends."""
        if instead_of:
            await self.end(identity(instead_of))
        return await asyncio.to_thread(self.sessions.begin, user)

    async def end(self, session: str) -> None:
        """End a session, and close what is open in it."""
        await self.change(lambda: self.sessions.end(session))

    async def change(self, work: Callable[[], Result]) -> Result:
        """Change people or sessions; who is not welcome any more has to go at once."""
        try:
            return await asyncio.to_thread(work)
        finally:
            await self.look_around()

    async def look_around(self) -> None:
        """Close what is open in sessions that have ended."""
        self._known.clear()
        self._anybody = None
        for session in [session for session in self._leaving if session is not None]:
            if await self._session(session) is None:
                for leave in self._leaving.pop(session, []):
                    leave()

    def when_gone(self, visitor: Visitor, leave: Callable[[], None]) -> Callable[[], None]:
        """Call something when a visitor's session has ended; returns what takes that back."""
        waiting = self._leaving.setdefault(visitor.session, [])
        waiting.append(leave)

        def forget() -> None:
            with suppress(ValueError):
                waiting.remove(leave)
            if not waiting and self._leaving.get(visitor.session) is waiting:
                del self._leaving[visitor.session]

        return forget

    async def note_use(self, visitor: Visitor) -> None:
        """A session that is used does not end for being idle."""
        if visitor.session is not None:
            session = await self._session(visitor.session)
            if session is not None:
                await asyncio.to_thread(self.sessions.use, session)

    def form_token(self, binding: str) -> str:
        """What a form must bring that was made for a session, or for a browser without one: no other page knows it."""
        return hmac.new(self._secret, binding.encode(), hashlib.sha256).hexdigest()

    def is_form_token(self, token: str, binding: str) -> bool:
        """Whether a form was made by us for whoever sends it."""
        return bool(binding) and hmac.compare_digest(token.encode(), self.form_token(binding).encode())

    async def _session(self, session: str) -> Session | None:
        known, now = self._known.get(session), self._clock()
        if known is None or now - known[0] >= REMEMBERED_SECONDS:
            known = (now, await asyncio.to_thread(self.sessions.find, session))
            if known[1] is None:  # anybody may send any number of secrets that are none
                self._known.pop(session, None)
            else:
                self._known[session] = known
        return known[1]
