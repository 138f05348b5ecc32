"""Who gets in, over the wire."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from llmasos.errors import InvalidRequest
from llmasos.library.store import Library
from llmasos.server.configuration import ServerConfiguration
from llmasos.server.keys import KeyStore
from llmasos.server.web.gate import Gate
from server.running import Running, running

ASK = {"model": "llama", "prompt": "a", "max_tokens": 2}


@pytest.fixture
def keys(home: Path) -> KeyStore:
    return KeyStore(Library(home).catalogue.database)


@pytest.fixture
def guarded(tiny_folder: Path, home: Path, keys: KeyStore) -> Iterator[Running]:
    with running(home, models=(str(tiny_folder),), authentication="required") as server:
        yield server


def test_a_key_opens_in_every_header_that_clients_use(guarded: Running, keys: KeyStore) -> None:
    _, secret = keys.create("a")
    with guarded.client() as client:
        for headers, status in (
            ({}, 401), ({"authorization": "Bearer nonsense"}, 401), ({"authorization": f"Bearer {secret}"}, 200),
            ({"x-api-key": secret}, 200), ({"authorization": f"bearer {secret}"}, 200),
        ):  # fmt: skip
            answer = client.post("/v1/completions", json=ASK, headers=headers)
            assert answer.status_code == status, answer.text
        refused = client.post("/v1/completions", json=ASK)
        assert refused.json()["error"]["type"] == "authentication_error"
        assert refused.headers["www-authenticate"] == "Bearer"
        assert client.get("/health").status_code == client.get("/ready").status_code == 200
        assert client.get("/metrics").status_code == 401


def test_scopes_and_state_are_checked(guarded: Running, keys: KeyStore) -> None:
    _, watcher = keys.create("watcher", scopes=frozenset({"metrics"}))
    _, old = keys.create("old", lifetime=timedelta(microseconds=1))
    _, gone = keys.create("gone")
    keys.revoke("gone")
    with guarded.client() as client:
        ask = lambda key: client.post("/v1/completions", json=ASK, headers={"x-api-key": key})  # noqa: E731
        refused = ask(watcher)
        assert refused.status_code == 403 and "inference" in refused.json()["error"]["message"]
        assert client.get("/metrics", headers={"x-api-key": watcher}).status_code == 200
        assert ask(old).status_code == ask(gone).status_code == 401
        assert "expired" in ask(old).json()["error"]["message"]


def test_requests_of_a_minute_are_counted(guarded: Running, keys: KeyStore) -> None:
    _, secret = keys.create("slow", requests_per_minute=2)
    with guarded.client(headers={"x-api-key": secret}) as client:
        answers = [client.post("/v1/completions", json=ASK) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 30


def test_tokens_of_a_minute_are_counted(guarded: Running, keys: KeyStore) -> None:
    _, secret = keys.create("small", tokens_per_minute=10)
    with guarded.client(headers={"x-api-key": secret}) as client:
        ask = {**ASK, "max_tokens": 30, "ignore_eos": True}
        assert client.post("/v1/completions", json=ask).status_code == 200
        refused = client.post("/v1/completions", json=ask)
    assert refused.status_code == 429 and "tokens" in refused.json()["error"]["message"]


def test_without_keys_this_machine_may(tiny: Running) -> None:
    with tiny.client() as client:
        assert client.post("/v1/completions", json=ASK).status_code == 200


def test_the_first_key_closes_the_door(tiny_folder: Path, home: Path, keys: KeyStore) -> None:
    _, secret = keys.create("a")
    with running(home, models=(str(tiny_folder),)) as server, server.client() as client:
        assert client.post("/v1/completions", json=ASK).status_code == 401
        assert client.post("/v1/completions", json=ASK, headers={"x-api-key": secret}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "evil.example"}, 403),
        ({"host": "evil.example:80", "origin": "http://evil.example:80"}, 403),
        ({"host": "localhost:1"}, 200),
        ({"host": "[::1]:1"}, 200),
    ],
)
def test_foreign_pages_cannot_use_a_visitors_browser(tiny: Running, headers: dict[str, str], status: int) -> None:
    with tiny.client() as client:
        assert client.post("/v1/completions", json=ASK, headers=headers).status_code == status
        same = {"origin": tiny.address}
        assert client.post("/v1/completions", json=ASK, headers=same).status_code == 200


def test_allowed_origins_may(tiny_folder: Path, home: Path) -> None:
    page = "https://page.example"
    with running(home, models=(str(tiny_folder),), cors_origins=(page,)) as server, server.client() as client:
        answer = client.post("/v1/completions", json=ASK, headers={"origin": page})
        assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == page
        preflight = {"origin": page, "access-control-request-method": "POST"}
        assert client.options("/v1/completions", headers=preflight).status_code == 200


@pytest.mark.parametrize(("host", "insecure", "with_key", "refused"), [
    ("0.0.0.0", False, False, True), ("0.0.0.0", False, True, False), ("0.0.0.0", True, False, False),
    ("::", False, False, True), ("127.0.0.1", False, False, False), ("localhost", False, False, False),
    ("server.example", False, False, True),
])  # fmt: skip
def test_a_server_is_not_open_to_the_world_by_accident(
    keys: KeyStore, host: str, insecure: bool, with_key: bool, refused: bool
) -> None:
    if with_key:
        keys.create("a")
    gate = Gate(ServerConfiguration(host=host, insecure=insecure), keys)
    if refused:
        with pytest.raises(InvalidRequest, match="can be reached from other machines"):
            gate.check_configuration()
    else:
        gate.check_configuration()
