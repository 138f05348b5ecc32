"""Around every request: an id, a line in the log, counters. Plain ASGI, since every piece of a stream passes here."""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmasos.server.metrics import Metrics

logger = logging.getLogger("llmasos.access")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_QUIET = ("/health", "/ready", "/metrics")


@dataclass(slots=True)
class AccessRecord:
    """What is known of a request by the time that it ends."""

    model: str | None = None
    key: str | None = None
    user: str | None = None
    stream: bool = False
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    error: str | None = None
    texts: dict[str, Any] = field(default_factory=dict)
    """The fields of the request, if they are to be logged."""


def record_of(scope: Scope) -> AccessRecord:
    """The record of a request, for whoever knows more of it."""
    record: AccessRecord = scope["llmasos.record"]
    return record


class AccessMiddleware:
    """Gives requests an id (the client's own if it sent one), logs them and counts them."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, log: Literal["off", "requests", "prompts"]) -> None:
        self._app, self._metrics, self._log = app, metrics, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        wanted = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
        request_id = wanted if _REQUEST_ID.fullmatch(wanted) else f"req_{secrets.token_hex(12)}"
        scope["llmasos.request_id"] = request_id
        record = scope["llmasos.record"] = AccessRecord()
        headers = [(b"x-request-id", request_id.encode()), (b"request-id", request_id.encode())]
        status = 0
        complete = False

        async def pass_on(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *headers]
            elif not message.get("more_body"):
                complete = True
            await send(message)

        try:
            await self._app(scope, receive, pass_on)
        finally:
            self._end(scope, record, request_id, status, complete, time.monotonic() - started)

    def _end(
        self, scope: Scope, record: AccessRecord, request_id: str, status: int, complete: bool, seconds: float
    ) -> None:
        route = getattr(scope.get("route"), "path", "other")  # never the raw path: it may be anything
        self._metrics.responses.labels(route, str(status)).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        if self._log == "off" or scope["path"] in _QUIET:
            return
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "id": request_id,
            "client": scope["client"][0] if scope.get("client") else None,
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "complete": complete,
            "seconds": round(seconds, 4),
            "key": record.key,
            "user": record.user,
            "model": record.model,
            "stream": record.stream,
            "prompt_tokens": record.prompt_tokens,
            "output_tokens": record.output_tokens,
            "cached_tokens": record.cached_tokens,
            "error": record.error,
        }
        if self._log == "prompts":
            line |= record.texts
        logger.info(
            "%s", json.dumps({key: value for key, value in line.items() if value is not None}, ensure_ascii=False)
        )
