"""Servers that speak Ollama's API: one whose answers are written down, and one with tiny models in its library."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from llmasos.engine.request import Usage
from llmasos.errors import LLMasOSError
from llmasos.library.acquire import import_path
from llmasos.library.store import Library
from llmasos.server.application import create_application
from llmasos.server.configuration import ServerConfiguration
from llmasos.server.serving.job import Job, Piece
from llmasos.server.serving.service import ModelService
from server.running import Running, running
from tiny_models import build

sys.path.insert(0, str(Path(__file__).parents[2] / "standins"))

from standin_http import running as running_standin
from standin_registry import RegistryStandIn

USAGE = Usage(7, 3, queue_seconds=0.25, first_token_seconds=1.0, total_seconds=3.0)


class ScriptedGeneration:
    """Gives the pieces of a script, one at a time, then fails or ends."""

    id = "scripted"
    load_seconds = 0.5
    prompt_ids = (1, 2, 3)

    def __init__(self, pieces: list[Piece], error: LLMasOSError | None) -> None:
        self._pieces, self._error = list(pieces), error
        self.closed = False

    async def read(self) -> list[Piece]:
        if self._pieces:
            return [self._pieces.pop(0)]
        assert self._error is not None
        raise self._error

    def close(self) -> None:
        self.closed = True


class Scripted(ModelService):
    """Answers every job from a script, and remembers the jobs."""

    def script(self, *pieces: Piece, error: LLMasOSError | None = None) -> None:
        found = list(pieces)
        if error is None:
            found[-1].usage = USAGE
            found[-1].finish_reason = found[-1].finish_reason or "stop"
        self.generation = ScriptedGeneration(found, error)

    async def generate(self, job: Job, account: Any = None) -> ScriptedGeneration:  # type: ignore[override]
        self.job = job
        return self.generation


class Desk:
    """A client of a scripted server."""

    def __init__(self, client: TestClient, service: Scripted) -> None:
        self.client, self.service = client, service

    def post(self, path: str, pieces: list[Piece] | None = None, error: LLMasOSError | None = None, **body: Any) -> Any:
        self.service.script(*(pieces or [Piece(0, "words", token_ids=[9])]), error=error)
        return self.client.post(path, json={"model": "m", **body})


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """``desk(lenient=True)``: a server whose answers the test writes."""
    opened: list[TestClient] = []

    def open_desk(**configuration: Any) -> Desk:
        service = Scripted(ServerConfiguration(access_log="off", **configuration), Library(tmp_path / "home"))
        client = TestClient(create_application(service), base_url="http://localhost")
        client.__enter__()
        opened.append(client)
        return Desk(client, service)

    yield open_desk
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server whose library has the tiny models ``tiny`` (chat) and ``vectors`` (embeddings)."""
    home = tmp_path_factory.mktemp("home")
    folders = tmp_path_factory.mktemp("models")
    library = Library(home)
    import_path(build("llama", folders / "llama"), name="tiny", library=library)
    import_path(build("sentence_transformer", folders / "vectors"), name="vectors", library=library)
    library.close()
    with running(home) as server:
        yield server


@pytest.fixture
def registry() -> Iterator[RegistryStandIn]:
    with running_standin(RegistryStandIn()) as standin:
        yield standin
