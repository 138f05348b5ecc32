"""Before the Studio: what comes from another web page, or under another name of this machine, goes no further.

A page of the web can make its visitor's browser send requests to this machine. The ``Origin`` of a request tells, for
WebSockets too, which browsers let any page open; a name of the web that was turned to point here shows in ``Host``.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from llmasos.errors import Forbidden
from llmasos.server.configuration import ServerConfiguration
from llmasos.server.web.gate import refuse_foreign_pages

#: Everything comes from this server; NiceGUI's pages carry their start in scripts and styles of their own.
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", CONTENT_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
]


class StudioGuard:
    """Refuses foreign pages, and tells browsers to ask nobody else for anything."""

    def __init__(self, app: ASGIApp, *, root: str, configuration: ServerConfiguration) -> None:
        self._app, self._root, self._configuration = app, root, configuration

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not _is_below(scope["path"], self._root):
            await self._app(scope, receive, send)
            return
        try:
            # Pages that may call the APIs may not use the Studio in somebody's name.
            refuse_foreign_pages(self._configuration, Headers(scope=scope), allowed=())
        except Forbidden as error:
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1008, "reason": error.message})
            else:
                await PlainTextResponse(error.message, 403)(scope, receive, send)
            return

        async def pass_on(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                assert isinstance(headers, list)
                message["headers"] = [*headers, *_HEADERS]
            await send(message)

        await self._app(scope, receive, pass_on)  # type: ignore[arg-type]  # a message is a mapping


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/")
