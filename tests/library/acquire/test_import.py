from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmasos.errors import IntegrityError, InvalidRequest, LicenseNotAccepted, NotFound, UnsafeContent, Unsupported
from llmasos.library.acquire import ensure, import_path, pull
from llmasos.library.lineage import Lineage
from llmasos.library.store import Library


@pytest.fixture
def folder(tmp_path: Path, model_files: dict[str, bytes]) -> Path:
    path = tmp_path / "My Model"
    path.mkdir()
    for name, data in model_files.items():
        (path / name).write_bytes(data)
    return path


def test_a_folder(folder: Path, library: Library, model_files: dict[str, bytes]) -> None:
    version = import_path(folder, library=library)
    assert version.names == ("my-model:latest",)
    assert set(version.paths) == {*model_files, "README.md"}
    step = Lineage.model_validate_json(library.lineage(version)[0].document)
    assert (step.step, step.source) == ("import", "file:My Model")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == model_files  # untouched
    (folder / "model.safetensors").write_bytes(b"changed later")
    assert library.verify(version.digest).ok
    assert str(folder.parent).encode() not in version.manifest.to_bytes()


def test_the_same_folder_twice_is_one_version(folder: Path, library: Library, tmp_path: Path) -> None:
    first = import_path(folder, library=library, name="a:1")
    second = pull(str(folder), library=library, name="b:1")
    assert first.digest == second.digest
    assert ensure(f"file:{folder}", library=library, name="c").names == ("a:1", "b:1", "c:latest")


def test_what_cannot_be_imported(folder: Path, library: Library, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        import_path(tmp_path / "My Modle", library=library)
    assert "My Model" in str(caught.value.hint)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InvalidRequest, match="empty"):
        import_path(empty, library=library)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InvalidRequest, match="ordinary"):
        import_path(tmp_path / "fifo", library=library)
    (tmp_path / "truncated.gguf").write_bytes(b"GGUF\x03\0\0\0\xff\0\0\0")
    with pytest.raises(IntegrityError):
        import_path(tmp_path / "truncated.gguf", library=library)
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises((Unsupported, InvalidRequest)):
        import_path(tmp_path / "notes.txt", library=library)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to("/etc/hostname")
    with pytest.raises(UnsafeContent):
        import_path(folder, library=library)
    assert library.versions() == []
    assert list((library.home / "staging").iterdir()) == []


def test_the_licence_of_a_card(folder: Path, library: Library) -> None:
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# Mine\n")
    with pytest.raises(LicenseNotAccepted, match="commercial"):
        import_path(folder, library=library)
    version = import_path(folder, library=library, accept_license=True)
    assert version.metadata.license == "CC-BY-NC-4.0"
