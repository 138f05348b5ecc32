"""Who may use the Studio: this machine's own pages, under its own name."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from llmasos.library.database import Database
from llmasos.server.configuration import ServerConfiguration
from llmasos.studio.accounts.door import Door
from llmasos.studio.accounts.passwords import Passwords
from llmasos.studio.guard import StudioGuard
from studio.accounts.conftest import CHEAP

SOCKET = "ws://127.0.0.1:8000/studio/socket"


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    application = FastAPI()
    configuration = ServerConfiguration()
    database = Database(f"sqlite:///{tmp_path}/catalogue.db", tmp_path)
    door = Door(database, configuration, passwords=Passwords(CHEAP))
    application.add_middleware(StudioGuard, root="/studio", configuration=configuration, door=door)

    @application.get("/studio/x")
    def page() -> str:
        return "page"

    @application.get("/studious")
    def other() -> str:
        return "other"

    @application.websocket("/studio/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")
        await websocket.close()

    return TestClient(application, base_url="http://127.0.0.1:8000")


def test_own_pages_pass_and_may_ask_nobody_else(client: TestClient) -> None:
    answer = client.get("/studio/x", headers={"origin": "http://127.0.0.1:8000"})
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "http" not in policy


@pytest.mark.parametrize("headers", [
    {"host": "evil.example"}, {"host": "evil.example:8000"}, {"origin": "https://evil.example"}, {"origin": "null"},
    {"origin": "http://127.0.0.1:9000"},
])  # fmt: skip
def test_others_do_not(client: TestClient, headers: dict[str, str]) -> None:
    assert client.get("/studio/x", headers=headers).status_code == 403
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(SOCKET, headers=headers):
        pass


def test_a_socket_of_an_own_page_opens(client: TestClient) -> None:
    with client.websocket_connect(SOCKET, headers={"origin": "http://127.0.0.1:8000"}) as socket:
        assert socket.receive_text() == "hello"


def test_other_addresses_are_left_alone(client: TestClient) -> None:
    answer = client.get("/studious", headers={"host": "evil.example"})
    assert answer.status_code == 200 and "content-security-policy" not in answer.headers
