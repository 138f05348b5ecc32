"""A library in a temporary folder, and a quick way to fill it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import settings

from llmasos.library.metadata import Lineage, Metadata
from llmasos.library.reference import Reference
from llmasos.library.store import Library
from llmasos.library.version import Version

# How long an example takes says nothing on a busy machine.
settings.register_profile("llmasos", deadline=None)
settings.load_profile("llmasos")

Publish = Callable[..., Version]


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    opened = Library(tmp_path / "home")
    yield opened
    opened.close()


@pytest.fixture
def publish(library: Library) -> Publish:
    """``publish("name", {"path": b"bytes"}, metadata=..., lineage=...)`` into the library."""

    def run(
        name: str | None,
        files: Mapping[str, bytes] | None = None,
        *,
        metadata: Metadata | None = None,
        lineage: Lineage | None = None,
        card: str | None = None,
    ) -> Version:
        with library.draft() as draft:
            for path, data in (files or {"config.json": b"{}", "model.safetensors": b"weights"}).items():
                draft.add_bytes(path, data)
            return draft.publish(
                Reference.parse(name) if name else None, metadata or Metadata(), lineage=lineage, card=card
            )

    return run


def flip_bit(path: Path, offset: int = 0) -> None:
    """Damage a file the way a bad disk does: one bit, same size."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    with path.open("r+b") as file:  # in place, so that hard links share the damage
        file.write(data)
    path.chmod(mode)


@pytest.fixture
def damage() -> Callable[[Path], None]:
    return flip_bit
