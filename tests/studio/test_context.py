"""Handlers of pages: for whom they do what."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from llmasos.errors import Forbidden, LLMasOSError, Unauthorised
from llmasos.i18n import language
from llmasos.studio import context as module
from llmasos.studio.accounts.visitor import OWNER, Visitor
from llmasos.studio.context import Context
from llmasos.studio.preferences import Preferences

MEMBER, ADMIN = Visitor("Bob", "member", "b"), Visitor("Ada", "admin", "a")


class Door:
    """Knows who is there."""

    present = (MEMBER, ADMIN, OWNER)

    async def require(self, visitor: Visitor, *, admin: bool = False) -> None:
        if visitor not in self.present:
            raise Unauthorised("gone")
        if admin and not visitor.is_admin:
            raise Forbidden("no admin")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(("visitor", "admin", "told"), [
    (MEMBER, False, None), (MEMBER, True, Forbidden), (ADMIN, True, None), (OWNER, True, None),
    (Visitor("Eve", "admin", "e"), False, Unauthorised), (Visitor("Eve", "admin", "e"), True, Unauthorised),
])  # fmt: skip
async def test_a_handler_asks_the_door_first(
    monkeypatch: pytest.MonkeyPatch, anyio_backend: str, visitor: Visitor, admin: bool, told: type[LLMasOSError] | None
) -> None:
    heard: list[LLMasOSError] = []
    done: list[str] = []
    monkeypatch.setattr(module, "tell", heard.append)
    platform: Any = SimpleNamespace(door=Door())
    context = Context(platform, Preferences("zh", "auto"), visitor)
    await context.handle(lambda: done.append(language()), admin=admin)()
    assert done == ([] if told else ["zh"])
    assert [type(error) for error in heard] == ([told] if told else [])
