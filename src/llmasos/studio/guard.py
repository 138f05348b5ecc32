"""Before the Studio: what comes from another web page, under another name of this machine, or from somebody who has
not signed in where that is needed, goes no further.

A page of the web can make its visitor's browser send requests to this machine. The ``Origin`` of a request tells, for
WebSockets too, which browsers let any page open; a name of the web that was turned to point here shows in ``Host``.
"""

from __future__ import annotations

import asyncio
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmasos.errors import Forbidden
from llmasos.i18n import speaking, t
from llmasos.server.configuration import ServerConfiguration
from llmasos.server.web.gate import refuse_foreign_pages
from llmasos.studio import address, preferences
from llmasos.studio.accounts.door import REMEMBERED_SECONDS, Door
from llmasos.studio.accounts.visitor import Visitor

#: Everything comes from this server; NiceGUI's pages carry their start in scripts and styles of their own.
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    b"content-security-policy": CONTENT_POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
}
SESSION_COOKIE = "llmasos_session"
VISITOR = "llmasos.visitor"
"""Where a request's scope says who sent it."""
_SOCKET = "/_nicegui_ws/"
_EVENT = '42["event"'
"""How a message begins that a person caused: others go to and fro while nobody is there."""


class StudioGuard:
    """Refuses foreign pages and strangers, and tells browsers to ask nobody else for anything.

    Args:
        root: path of the Studio.
        configuration: of the server.
        door: knows who is who.
    """

    def __init__(self, app: ASGIApp, *, root: str, configuration: ServerConfiguration, door: Door) -> None:
        self._app, self._root, self._configuration, self._door = app, root, configuration, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not _is_below(scope["path"], self._root):
            await self._app(scope, receive, send)
            return
        with speaking(preferences.read(HTTPConnection(scope)).language):
            try:
                # Pages that may call the APIs may not use the Studio in somebody's name.
                refuse_foreign_pages(self._configuration, Headers(scope=scope), allowed=())
            except Forbidden as error:
                await _refuse(scope, receive, send, PlainTextResponse(error.message, 403), error.message)
                return
            visitor = await self._door.visitor(HTTPConnection(scope).cookies.get(SESSION_COOKIE))
            own = scope["path"].removeprefix(self._root) in address.OPEN_TO_ALL
            if visitor is None and not own:
                await _refuse(scope, receive, send, await self._to_the_door(scope), t("Sign in again."))
                return
        scope[VISITOR] = visitor
        if scope["type"] == "websocket":
            assert visitor is not None
            await _Socket(self._door, visitor, receive, send).run(self._app, scope)
        elif visitor is not None and _SOCKET in scope["path"]:
            await self._until_gone(visitor, scope, receive, _with_headers(send))
        else:
            if visitor is not None and not own:
                await self._door.note_use(visitor)
            await self._app(scope, receive, _with_headers(send))

    async def _to_the_door(self, scope: Scope) -> Response:
        """Pages lead to where one signs in; everything else is refused."""
        navigates = scope["type"] == "http" and scope["method"] == "GET"
        if not navigates or "text/html" not in Headers(scope=scope).get("accept", ""):
            return PlainTextResponse(t("Sign in again."), 401, headers={"cache-control": "no-store"})
        first = self._door.setup_code is not None and not await self._door.has_users()
        wanted = scope["path"] + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
        target = self._root + (address.first_admin() if first else address.sign_in())
        return RedirectResponse(
            target if first else f"{target}?next={quote(wanted, safe='')}", 303, headers={"cache-control": "no-store"}
        )

    async def _until_gone(self, visitor: Visitor, scope: Scope, receive: Receive, send: Send) -> None:
        """Where WebSockets do not get through, NiceGUI lets browsers wait for answers: not beyond the session."""
        begun = False

        async def pass_on(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        gone = asyncio.Event()
        forget = self._door.when_gone(visitor, gone.set)
        work = asyncio.ensure_future(self._app(scope, receive, pass_on))
        leaving = asyncio.ensure_future(gone.wait())
        try:
            await asyncio.wait((work, leaving), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
            elif not begun:
                await PlainTextResponse(t("Sign in again."), 401)(scope, receive, send)
        finally:
            work.cancel()
            leaving.cancel()
            forget()


class _Socket:
    """A WebSocket that closes when its session ends."""

    def __init__(self, door: Door, visitor: Visitor, receive: Receive, send: Send) -> None:
        self._door, self._visitor, self._receive, self._send = door, visitor, receive, send
        self._gone = asyncio.Event()
        self._closed = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Hand everything to and fro as long as the visitor is welcome."""
        forget = self._door.when_gone(self._visitor, self._gone.set)
        try:
            await app(scope, self._next, self._pass_on)
        finally:
            forget()

    async def _next(self) -> Message:
        message = asyncio.ensure_future(self._receive())
        gone = asyncio.ensure_future(self._gone.wait())
        try:
            while not self._gone.is_set():
                await asyncio.wait((message, gone), timeout=REMEMBERED_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if message.done() and message.result()["type"] == "websocket.disconnect":
                    self._closed = True
                    return message.result()
                # What came at the same time as the end, or after another process ended the session, is not heard.
                if not await self._door.is_still_welcome(self._visitor):
                    self._gone.set()
                elif message.done():
                    found = message.result()
                    if str(found.get("text") or "").startswith(_EVENT):
                        await self._door.note_use(self._visitor)
                    return found
        finally:
            message.cancel()
            gone.cancel()
        await self._close()
        return {"type": "websocket.disconnect", "code": 1008}

    async def _pass_on(self, message: Message) -> None:
        if self._gone.is_set():
            await self._close()
            return
        self._closed = self._closed or message["type"] == "websocket.close"
        await self._send(message)

    async def _close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._send({"type": "websocket.close", "code": 1008, "reason": "signed out"})


def _with_headers(send: Send) -> Send:
    async def pass_on(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message["headers"]}
            added = [pair for pair in _HEADERS.items() if pair[0] not in present]
            message["headers"] = [*message["headers"], *added]
        await send(message)

    return pass_on


async def _refuse(scope: Scope, receive: Receive, send: Send, response: Response, reason: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": reason})
    else:
        await response(scope, receive, _with_headers(send))


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/")
