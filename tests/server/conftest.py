"""Servers for tests: tiny random models in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from server.running import Running, running
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
