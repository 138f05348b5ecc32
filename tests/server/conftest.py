"""Servers for tests: tiny random models in this process, a real model in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.running import Running, running
from server.scripted import Scripted, scripted
from tiny_models import build


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder-only model with a chat template; served under the name ``llama``."""
    return build("llama", tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of the tiny model, shared by tests that leave it as it was."""
    with running(tmp_path_factory.mktemp("home"), models=(str(tiny_folder),)) as server:
        yield server


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Scripted]:
    """A server that says what the test tells it to."""
    with scripted(tmp_path / "library") as opened:
        yield opened


@dataclass(frozen=True)
class RealServer:
    """``llmasos serve`` with a real model."""

    address: str
    model: str


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """The command itself with the small real model, shared by tests of real clients."""
    model = "smollm2:135m-instruct"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LLMASOS_")}
    environment |= {"LLMASOS_HOME": str(tmp_path_factory.mktemp("real") / "home"), "LLMASOS_LANG": "en"}
    command = [sys.executable, "-m", "llmasos.cli.app", "serve", model, "--port", "0", "--json", "--access-log", "off"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    try:
        assert process.stdout is not None
        text = ""
        for line in process.stdout:
            text += line
            if line.rstrip() == "}":
                break
        yield RealServer(json.loads(text)["address"], model)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, 128 + signal.SIGTERM)
    finally:
        process.kill()
        process.wait()
