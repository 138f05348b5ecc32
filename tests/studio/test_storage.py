"""What the home folder takes, and what of it goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmasos.errors import InUse
from llmasos.library.kind import Kind
from llmasos.library.metadata import Metadata
from llmasos.library.reference import Reference
from llmasos.library.store import Library
from llmasos.runs.store import RunStore
from llmasos.studio import storage


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    found = Library(tmp_path / "library")
    for name, kind, content in (("a", Kind.MODEL, b"m" * 5000), ("b", Kind.DATASET, b"d" * 7000)):
        with found.draft() as draft:
            draft.add_bytes("content", content)
            draft.add_bytes("shared", b"s" * 100)
            draft.publish(Reference.parse(name), Metadata(kind=kind))
    yield found
    found.close()


def write(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


def test_it_is_counted_by_kind_and_once(library: Library) -> None:
    write(library.home / "runs" / "one" / "log.txt", 300)
    write(library.home / "cache" / "tokens" / "t", 50)
    write(library.home / "blobs" / "sha256" / ("0" * 64), 11)
    library.view(library.resolve("a"))  # its files are further names of the blobs
    parts = storage.usage(library).parts
    assert parts["model"] + parts["dataset"] >= 12_100 and parts["model"] < 12_000 and parts["dataset"] < 12_000
    assert (parts["runs"], parts["cache"], parts["unneeded"]) == (300, 50, 11)
    everything = {(item.stat().st_dev, item.stat().st_ino): item.stat().st_size for item in library.home.rglob("*")
                  if item.is_file()}  # fmt: skip
    assert storage.usage(library).total == pytest.approx(sum(everything.values()), rel=0.2)


def test_looking_removes_nothing_and_cleaning_up_removes_what_was_shown(library: Library) -> None:
    write(library.home / "blobs" / "sha256" / ("0" * 64), 11)
    write(library.home / "cache" / "presets" / "tokenizer.json", 40)
    write(library.home / "cache" / "evaluation" / "rows.jsonl", 60)
    write(library.home / "cache" / "hardware.json", 5)
    for _ in range(2):
        found = storage.waste(library)
        assert (found.report.bytes, found.caches, found.total) == (11, 100, 111)
    assert storage.clean_up(library, caches=False).total == 11
    assert storage.waste(library).total == 100
    assert storage.clean_up(library, caches=True).total == 100
    assert storage.waste(library).total == 0 and (library.home / "cache" / "hardware.json").exists()
    assert library.names() == ["a:latest", "b:latest"]
    assert [item for item in (library.home / "cache").iterdir() if item.is_dir() and any(item.iterdir())] == []


def test_caches_stay_while_a_run_may_read_them(library: Library, tmp_path: Path) -> None:
    write(library.home / "cache" / "evaluation" / "rows.jsonl", 60)
    RunStore(library).create("sft", "{}", recipe_folder=tmp_path)
    with pytest.raises(InUse, match=r"1 run\(s\)"):
        storage.clean_up(library, caches=True)
    assert storage.waste(library).caches == 60
    storage.clean_up(library, caches=False)


def test_an_empty_home(tmp_path: Path) -> None:
    library = Library(tmp_path / "empty")
    assert storage.usage(library).parts.get("model", 0) == 0
    assert storage.waste(library).total == 0
    library.close()
