"""Fixtures for conftest.py files: stand-in servers on loopback, and an environment without this machine's set-up."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from standin_http import running
from standin_hub import HubStandIn
from standin_index import IndexStandIn
from standin_registry import RegistryStandIn

from llmasos import settings
from llmasos.progress import Event, reporting

ENVIRONMENT = dict(os.environ)


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, no netrc, no token, no pip configuration and no docker credentials of the machine."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "HF_", "DOCKER_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    user = tmp_path / "user"
    user.mkdir()
    monkeypatch.setenv("HOME", str(user))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("NETRC", str(user / "netrc"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(user / "token"))


@pytest.fixture
def real_environment(own_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of this machine again, for what comes from the real package index."""
    for name, value in ENVIRONMENT.items():
        if not name.startswith("LLMASOS_"):
            monkeypatch.setenv(name, value)
    for name in ("PIP_CONFIG_FILE", "NETRC"):
        if name not in ENVIRONMENT:
            monkeypatch.delenv(name)


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``configure(download_retries=1)``: settings of this test."""

    def run(**values: object) -> None:
        for key, value in values.items():
            monkeypatch.setenv(f"LLMASOS_{key.upper()}", str(value))
        settings.get_settings.cache_clear()

    return run


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    with running(HubStandIn()) as standin:
        monkeypatch.setenv("HF_ENDPOINT", standin.url)
        yield standin


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[IndexStandIn]:
    with running(IndexStandIn()) as standin:
        monkeypatch.setenv("PIP_INDEX_URL", standin.index_url)
        yield standin


@pytest.fixture
def registry() -> Iterator[RegistryStandIn]:
    with running(RegistryStandIn()) as standin:
        yield standin


@pytest.fixture
def events() -> Iterator[list[Event]]:
    """What is reported while the test runs."""
    found: list[Event] = []
    with reporting(found.append):
        yield found


def safetensors(**tensors: bytes) -> bytes:
    """A safetensors file of byte vectors, to stand for weights."""
    header, position = {}, 0
    for name, data in tensors.items():
        header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [position, position + len(data)]}
        position += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(tensors.values())


def tiny_model(size: int = 200_000) -> dict[str, bytes]:
    """The files of a model folder whose weights are ``size`` bytes that mean nothing."""
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 64}
    return {
        "config.json": json.dumps(config).encode(),
        "tokenizer.json": b'{"model": {"type": "BPE"}}',
        "model.safetensors": safetensors(weight=(bytes(range(256)) * (size // 256 + 1))[:size]),
    }


@pytest.fixture
def model_files() -> dict[str, bytes]:
    return tiny_model()
