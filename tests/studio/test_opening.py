"""The Studio is there before its model is."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from llmasos.errors import NotFound, Unavailable
from llmasos.library import acquire
from llmasos.library.metadata import Metadata
from llmasos.library.reference import Reference
from llmasos.library.store import Library
from llmasos.studio.opening import ready_models
from llmasos.studio.transfers import Transfers

MODEL = "smollm2:135m-instruct"


class Service:
    """Notes what it was asked to load."""

    def __init__(self, *models: str, fails: bool = False) -> None:
        self.configuration = SimpleNamespace(models=models)
        self.started: list[Any] = []
        self._fails = fails

    async def start(self, models: tuple[str, ...] | None = None) -> None:
        self.started.append(models)
        if self._fails and models is None:
            raise NotFound("it cannot be loaded")


def platform(library: Library, service: Service) -> Any:
    return SimpleNamespace(library=library, service=service, transfers=Transfers(library))


def publish(library: Library, name: str) -> None:
    with library.draft() as draft:
        draft.add_bytes("x", b"1")
        draft.publish(Reference.parse(name), Metadata())


def test_a_model_that_is_missing_is_downloaded_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(tmp_path / "home")
    monkeypatch.setattr(acquire, "pull", lambda reference, **_: publish(library, reference))
    place = platform(library, Service(MODEL, "./a-folder"))
    asyncio.run(ready_models(place))
    assert place.service.started == [None] and library.has(MODEL)
    assert place.transfers.of(MODEL).outcome == "done" and place.transfers.of("./a-folder") is None


def test_the_service_works_without_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise Unavailable("nobody answers")

    monkeypatch.setattr(acquire, "pull", fail)
    service = Service(MODEL)
    with pytest.raises(Unavailable, match="nobody answers"):
        asyncio.run(ready_models(platform(Library(tmp_path / "home"), service)))
    assert service.started == [()]


def test_so_it_does_if_loading_fails(tmp_path: Path) -> None:
    library = Library(tmp_path / "home")
    publish(library, "a:b")
    service = Service("a:b", fails=True)
    with pytest.raises(NotFound):
        asyncio.run(ready_models(platform(library, service)))
    assert service.started == [None, ()]


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_the_address_is_told_whatever_becomes_of_the_model(home: Path) -> None:
    """As ``make run`` starts it, without a terminal and a screen."""
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-m", "llmasos.cli.app", "up", "no/such-model", "--port", "0"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stderr is not None
            told: list[str] = []
            for line in process.stderr:
                told.append(line)
                if "cannot be had" in line:
                    break
            address = next(found.group(1) for line in told if (found := re.search(r"(http://127\S+)/studio/", line)))
            assert "Starting the Studio" in told[0]
            for _ in range(100):
                if httpx.get(f"{address}/ready").status_code == 200:
                    break
                time.sleep(0.1)
            else:
                pytest.fail("the service does not become ready")
            assert "LLMasOS" in httpx.get(f"{address}/studio/", follow_redirects=True).text
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM  # it ended because it was asked to
