"""Who may do what: keys, their scopes and limits, and which pages of a browser may ask at all."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers

from llmasos.engine.request import Usage
from llmasos.errors import Forbidden, InvalidRequest, TooManyRequests, Unauthorised
from llmasos.i18n import t
from llmasos.server.configuration import ServerConfiguration
from llmasos.server.keys import SCOPES, Key, KeyStore, Scope
from llmasos.server.web.access import record_of
from llmasos.server.web.limits import Bucket

_REMEMBERED_SECONDS = 5.0  # a key that was revoked stops working within this time
_REMEMBERED_KEYS = 1024
_TOUCH_SECONDS = 60.0
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request, and what is left of its limits."""

    key: Key | None = None
    requests: Bucket | None = None
    tokens: Bucket | None = None

    @property
    def owner(self) -> str:
        """What tells callers apart; the same for all without a key."""
        return self.key.id if self.key is not None else ""

    def check_requests(self) -> None:
        """Take one request.

        Raises:
            TooManyRequests: the key has none left.
        """
        _check(self.requests, t("requests"))
        if self.requests is not None:
            self.requests.take(1)

    def check_tokens(self) -> None:
        """Whether tokens are left; they are taken when it is known how many a request took.

        Raises:
            TooManyRequests: the key has none left.
        """
        _check(self.tokens, t("tokens"))

    def account(self, usage: Usage) -> None:
        """Count what a request took."""
        if self.tokens is not None:
            self.tokens.take(usage.prompt_tokens + usage.completion_tokens)


ANYONE = Caller()


def _check(bucket: Bucket | None, what: str) -> None:
    wait = bucket.wait_for(1) if bucket is not None else 0.0
    if bucket is not None and wait > 0:
        raise TooManyRequests(
            t("this key may use {limit} {what} in a minute, and has", limit=bucket.per_minute, what=what),
            retry_after=wait,
            hint=t("Try again in {seconds} s.", seconds=round(wait + 0.5)),
        )


class Gate:
    """Decides on every request before its route does.

    Args:
        configuration: of the server.
        keys: of the catalogue.
    """

    def __init__(self, configuration: ServerConfiguration, keys: KeyStore) -> None:
        self._configuration = configuration
        self._keys = keys
        self._callers: OrderedDict[str, tuple[float, Caller]] = OrderedDict()
        self._buckets: dict[str, tuple[Bucket | None, Bucket | None]] = {}
        self._touched: dict[str, float] = {}
        self._needed: tuple[float, bool] = (-_REMEMBERED_SECONDS, False)

    def check_configuration(self) -> None:
        """Refuse to be open to the world by accident.

        Raises:
            InvalidRequest: the server would listen beyond this machine without keys.
        """
        configuration = self._configuration
        if configuration.is_loopback or configuration.insecure:
            return
        if configuration.authentication == "off" or not self._keys.any_valid():
            raise InvalidRequest(
                t("{host} can be reached from other machines, and no key protects the server", host=configuration.host),
                hint=t("Make a key with `llmasos keys new NAME`, or say --insecure if you mean it."),
            )

    async def admit(self, request: Request, scope: Scope) -> Caller:
        """The caller, if it may.

        Raises:
            Unauthorised: a key is needed, or this one is none.
            Forbidden: the key lacks the scope, or the request comes from a foreign web page.
            TooManyRequests: the key has used up its requests.
        """
        refuse_foreign_pages(self._configuration, request.headers, allowed=self._configuration.cors_origins)
        secret = _secret_of(request)
        if not await self._needs_key():
            return ANYONE
        if secret is None:
            raise Unauthorised(
                t("a key is needed"),
                hint=t(
                    "Send it as `Authorization: Bearer KEY` or `x-api-key: KEY`; `llmasos keys new NAME` makes one."
                ),
            )
        caller = await self._caller(secret)
        assert caller.key is not None
        record_of(request.scope).key = caller.key.id
        if scope not in caller.key.scopes:
            raise Forbidden(
                t("the key {name} has no scope {scope}; it has {scopes}", name=caller.key.name, scope=scope,
                  scopes=", ".join(sorted(caller.key.scopes))),
                hint=t("Scopes are: {scopes}.", scopes=", ".join(SCOPES)),
            )  # fmt: skip
        caller.check_requests()
        return caller

    async def _needs_key(self) -> bool:
        configuration = self._configuration
        if configuration.authentication != "auto":
            return configuration.authentication == "required"
        if not configuration.is_loopback and not configuration.insecure:
            return True
        now = time.monotonic()
        if now - self._needed[0] >= _REMEMBERED_SECONDS:
            self._needed = (now, await asyncio.to_thread(self._keys.any_valid))
        return self._needed[1]

    async def _caller(self, secret: str) -> Caller:
        token = hashlib.sha256(secret.encode()).hexdigest()
        known = self._callers.get(token)
        now = time.monotonic()
        if known is None or now - known[0] >= _REMEMBERED_SECONDS:
            key = await asyncio.to_thread(self._keys.find, secret)
            if key is None:
                raise Unauthorised(t("there is no such key"), hint=t("`llmasos keys list` shows the keys."))
            known = self._callers[token] = (now, Caller(key, *self._limits(key)))
            if len(self._callers) > _REMEMBERED_KEYS:
                self._callers.popitem(last=False)
        caller = known[1]
        assert caller.key is not None
        if caller.key.state != "valid":
            raise Unauthorised(
                t("the key {name} has been revoked", name=caller.key.name)
                if caller.key.state == "revoked"
                else t("the key {name} has expired", name=caller.key.name),
                hint=t("Make another with `llmasos keys new NAME`."),
            )
        if now - self._touched.get(caller.key.id, -_TOUCH_SECONDS) >= _TOUCH_SECONDS:
            self._touched[caller.key.id] = now
            await asyncio.to_thread(self._keys.touch, caller.key.id)
        return caller

    def _limits(self, key: Key) -> tuple[Bucket | None, Bucket | None]:
        """Buckets outlive the record of the key, or waiting five seconds would fill them."""
        found = self._buckets.get(key.id)
        if found is None:
            requests, tokens = key.requests_per_minute, key.tokens_per_minute
            found = self._buckets[key.id] = (
                Bucket(requests) if requests is not None else None,
                Bucket(tokens) if tokens is not None else None,
            )
        return found


def refuse_foreign_pages(configuration: ServerConfiguration, headers: Headers, *, allowed: Sequence[str]) -> None:
    """A page of the web must not use the server through its visitor's browser: neither by a plain request to this
    machine (its Origin tells) nor under a name that was turned to point here (the Host tells).

    Args:
        allowed: origins that may; ``*`` stands for all.

    Raises:
        Forbidden: this one may not.
    """
    host = _host_name(headers.get("host", ""))
    if configuration.is_loopback and host not in _LOOPBACK_NAMES | {configuration.host}:
        raise Forbidden(
            t("this server answers to localhost only, not to {host!r}", host=host),
            hint=t("Start it with --host to serve other names."),
        )
    origin = headers.get("origin")
    if origin is None or "*" in allowed or origin in allowed:
        return
    if urlsplit(origin).netloc == headers.get("host") and origin != "null":
        return
    raise Forbidden(
        t("pages of {origin} may not use this server", origin=origin),
        hint=t("Add it to cors_origins in the server's configuration."),
    )


def _host_name(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def _secret_of(request: Request) -> str | None:
    """The key in any of the headers that clients use."""
    header = request.headers.get("authorization", "")
    kind, _, value = header.partition(" ")
    if kind.lower() == "bearer" and value.strip():
        return value.strip()
    return request.headers.get("x-api-key") or None


def requires(scope: Scope) -> Callable[[Request], Awaitable[None]]:
    """A dependency that lets a request pass if its caller may do what ``scope`` says."""

    async def check(request: Request) -> None:
        gate: Gate = request.app.state.gate
        request.scope["llmasos.caller"] = await gate.admit(request, scope)

    return check
