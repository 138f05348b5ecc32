"""A server whose model says what a test tells it to: for translation, events and errors, without weights."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from llmasos.engine.request import Usage
from llmasos.errors import LLMasOSError
from llmasos.library.store import Library
from llmasos.server.application import create_application
from llmasos.server.configuration import ServerConfiguration
from llmasos.server.serving.job import Job, Piece, ToolCallPiece
from llmasos.server.serving.service import Account, ModelService

USAGE = Usage(prompt_tokens=12, completion_tokens=5, cached_tokens=8)
Step = Piece | LLMasOSError | float | None
"""A piece, an error on the way, seconds of silence, or ``None``: nothing more comes."""


def said(*texts: str, reason: Any = "stop", stop: str | None = None, usage: Usage = USAGE) -> list[Step]:
    """Words, one piece each, and the end."""
    pieces: list[Step] = [Piece(0, text, token_ids=[1]) for text in texts]
    return [*pieces, Piece(0, finish_reason=reason, stop=stop, usage=usage)]


def called(*calls: tuple[str, str, str], text: str = "") -> list[Step]:
    """Calls of tools as ``(id, name, arguments)``, the arguments cut in two."""
    pieces: list[Step] = [Piece(0, text, token_ids=[1])] if text else []
    for index, (id, name, arguments) in enumerate(calls):
        half = len(arguments) // 2
        pieces.append(Piece(0, tool_calls=[ToolCallPiece(index, id, name, arguments[:half])]))
        pieces.append(Piece(0, tool_calls=[ToolCallPiece(index, arguments=arguments[half:])]))
    return [*pieces, Piece(0, finish_reason="tool_calls", usage=USAGE)]


class ScriptedGeneration:
    """Gives one step at a time."""

    id = "scripted"
    load_seconds = 0.0

    def __init__(self, steps: Sequence[Step]) -> None:
        self.prompt_ids = list(range(12))
        self.closed = False
        self._steps = list(steps)

    async def read(self) -> list[Piece]:
        await asyncio.sleep(0)
        step = self._steps.pop(0)
        if isinstance(step, float):
            await asyncio.sleep(step)
            step = self._steps.pop(0)
        if step is None:
            await asyncio.Event().wait()
        if isinstance(step, LLMasOSError):
            raise step
        assert isinstance(step, Piece)
        return [step]

    def close(self) -> None:
        self.closed = True


class ScriptedService(ModelService):
    """Takes every job, and answers each with the next script."""

    def __init__(self, configuration: ServerConfiguration, library: Library) -> None:
        super().__init__(configuration, library)
        self.scripts: list[list[Step] | LLMasOSError] = []
        self.jobs: list[Job] = []
        self.generations: list[ScriptedGeneration] = []

    async def generate(self, job: Job, account: Account | None = None) -> Any:
        self.jobs.append(job)
        script = self.scripts.pop(0)
        if isinstance(script, LLMasOSError):
            raise script
        self.generations.append(ScriptedGeneration(script))
        return self.generations[-1]


class Scripted:
    """A server without weights, and its client."""

    def __init__(self, client: TestClient, service: ScriptedService) -> None:
        self.client = client
        self.service = service

    def script(self, *scripts: list[Step] | LLMasOSError) -> None:
        """What the model answers to the next requests."""
        self.service.scripts += scripts

    @property
    def job(self) -> Job:
        """The last one."""
        return self.service.jobs[-1]


@contextmanager
def scripted(home: Path, **configuration: Any) -> Iterator[Scripted]:
    """Serve scripts with ``configuration``."""
    values = {"access_log": "off", **configuration}
    service = ScriptedService(ServerConfiguration.model_validate(values), Library(home))
    with TestClient(create_application(service), base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield Scripted(client, service)


def events(text: str) -> list[tuple[str, Any]]:
    """Names and data of server-sent events."""
    found = []
    for block in text.split("\n\n"):
        if block:
            name, data = block.split("\n", 1)
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found
