"""Tiny models, made once per run and loaded once per test session."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny_models
from llmasos import load
from llmasos.modeling.folder import ModelFolder
from llmasos.modeling.loading import Placement, build_model
from llmasos.modeling.model import Model

_loaded: dict[str, Model] = {}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``tiny("llama")``: the folder of that model; not to be changed."""
    root = tmp_path_factory.mktemp("models")

    def folder(name: str) -> Path:
        path = root / name
        return path if path.is_dir() else tiny_models.build(name, path)

    return folder


@pytest.fixture
def own(tiny: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """``own("llama")``: a copy of that model that the test may change."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(tiny(name), tmp_path / name))

    return copy


@pytest.fixture
def backend() -> str:
    """What runs decoder-only models: ``transformers``, or ``engine`` where a test asks for it."""
    return "transformers"


@pytest.fixture
def opened(backend: str) -> Callable[..., Model]:
    """``opened(path, dtype=...)``: the model in that folder."""

    def run(path: Path, dtype: str = "float32") -> Model:
        if backend == "engine":
            return load(path, dtype=dtype)
        return build_model(ModelFolder.open(path), Placement(dtype))

    return run


@pytest.fixture
def model(tiny: Callable[[str], Path], opened: Callable[..., Model], backend: str) -> Callable[[str], Model]:
    """``model("llama")``: that model, loaded in float32; not to be closed."""

    def loaded(name: str) -> Model:
        key = f"{name} by {backend}"
        if key not in _loaded:
            _loaded[key] = opened(tiny(name))
        return _loaded[key]

    return loaded
