from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parent


def _module(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fake_model() -> Callable[..., Any]:
    """Makes a :class:`fake_chat_model.FakeModel`."""
    return _module("fake_chat_model").FakeModel


@pytest.fixture(scope="session")
def driver() -> list[str]:
    """The command that holds a conversation with fake models on its terminal."""
    return [sys.executable, str(FOLDER / "conversation_driver.py")]
