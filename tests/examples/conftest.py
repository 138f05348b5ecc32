from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "examples"


def _module(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # its classes and its neighbours look for it there
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def measures() -> ModuleType:
    """examples/measures.py"""
    return _module("measures")


@pytest.fixture(scope="session")
def table(measures: ModuleType) -> ModuleType:
    """examples/table.py"""
    return _module("table")


@pytest.fixture(scope="session")
def run(table: ModuleType) -> ModuleType:
    """examples/run.py"""
    return _module("run")
