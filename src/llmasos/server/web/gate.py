"""Who may do what: keys, their scopes and their limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from fastapi import Request

from llmasos.engine.request import Usage

Scope = Literal["inference", "models", "metrics"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request."""

    key_id: str | None = None
    name: str | None = None

    def check_tokens(self) -> None:
        """Raise TooManyRequests if the key has used up its tokens."""

    def account(self, usage: Usage) -> None:
        """Count what a request took."""


def requires(scope: Scope) -> Callable[[Request], Awaitable[None]]:
    """A dependency that lets a request pass if its key has ``scope``."""

    async def check(request: Request) -> None:
        request.scope["llmasos.caller"] = Caller()

    return check
