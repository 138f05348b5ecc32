"""A door with cheap hashes and clocks that tests turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from argon2 import PasswordHasher
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.requests import Request
from starlette.websockets import WebSocket, WebSocketDisconnect

from llmasos.library.database import Database
from llmasos.server.configuration import ServerConfiguration
from llmasos.studio.accounts.attempts import Attempts
from llmasos.studio.accounts.door import Door
from llmasos.studio.accounts.passwords import Passwords
from llmasos.studio.accounts.routes import routes
from llmasos.studio.accounts.sessions import SessionStore
from llmasos.studio.guard import VISITOR, StudioGuard

CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


class Clock:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def turn(self, by: timedelta | float) -> None:
        self.seconds += by.total_seconds() if isinstance(by, timedelta) else by


@dataclass
class Server:
    """The Studio's door in an application with a page and a socket behind it."""

    door: Door
    application: FastAPI
    clock: Clock
    portal: BlockingPortal

    def browser(self, *, address: str = "192.0.2.7", scheme: str = "http") -> TestClient:
        return self.client(base_url=f"{scheme}://studio.example", client=(address, 50000))

    def client(self, **options: Any) -> TestClient:
        """A browser; all are served by one event loop, as in life."""
        found = TestClient(self.application, follow_redirects=False, **options)
        found.portal = self.portal
        return found


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path}/catalogue.db", tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


Serve = Callable[..., Server]


@pytest.fixture
def serve(database: Database, clock: Clock) -> Iterator[Serve]:
    """Makes servers: beyond this machine unless told otherwise."""
    with start_blocking_portal() as portal:
        yield lambda host="0.0.0.0": _server(database, clock, portal, host)


def _server(database: Database, clock: Clock, portal: BlockingPortal, host: str) -> Server:
    configuration = ServerConfiguration(host=host)
    door = Door(
        database, configuration, passwords=Passwords(CHEAP), clock=clock,
        sessions=SessionStore(database, clock=clock.now), attempts=Attempts(clock),
    )  # fmt: skip
    application = FastAPI()
    application.include_router(routes(door))
    application.add_middleware(StudioGuard, root="/studio", configuration=configuration, door=door)

    @application.get("/studio/models")
    def page(request: Request) -> dict[str, str | None]:
        visitor = request.scope[VISITOR]
        return {"name": visitor.name, "role": visitor.role}

    @application.get("/studio/_nicegui_ws/wait")
    async def wait() -> str:
        return "data"

    @application.websocket("/studio/_nicegui_ws/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text("heard " + await websocket.receive_text())
        except WebSocketDisconnect:
            application.state.disconnected = True

    return Server(door, application, clock, portal)


@pytest.fixture
def server(serve: Serve) -> Server:
    """A server that other machines can reach, with an admin and a member."""
    found = serve()
    found.door.users.add("Ada", "correct horse", "admin")
    found.door.users.add("Bob", "battery staple")
    return found
