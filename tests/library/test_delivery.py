from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llmasos.errors import AlreadyExists, IntegrityError, InvalidReference, InvalidRequest, NotFound, Unsupported
from llmasos.library.delivery import export, push
from llmasos.library.store import Library

FILES = {"config.json": b"{}", "sub/model.safetensors": b"weights", "original/m.gguf": b"GGUF"}


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder(library: Library, publish: Callable[..., object], tmp_path: Path) -> None:
    publish("m:1", FILES)
    done = export("m:1", tmp_path / "out" / "m", library=library)
    written = tree(tmp_path / "out" / "m")
    assert {key: written[key] for key in FILES} == FILES
    assert (done.files, done.size) == (len(written), sum(map(len, written.values())))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["m"]
    (tmp_path / "out" / "m" / "config.json").write_bytes(b"changed by its new owner")
    assert library.verify().ok


def test_what_is_there_is_kept_unless_forced(library: Library, publish: Callable[..., object], tmp_path: Path) -> None:
    publish("m:1", FILES)
    target = tmp_path / "m"
    target.mkdir()
    export("m:1", target, library=library)  # an empty folder may be filled
    (target / "config.json").write_bytes(b"old")
    (target / "notes.txt").write_bytes(b"mine")
    with pytest.raises(AlreadyExists):
        export("m:1", target, library=library)
    export("m:1", target, library=library, force=True)
    assert tree(target)["config.json"] == b"{}"
    assert tree(target)["notes.txt"] == b"mine"


def test_the_original_gguf(library: Library, publish: Callable[..., object], tmp_path: Path) -> None:
    publish("m:1", FILES)
    assert export("m:1", tmp_path / "x.gguf", format="gguf", library=library).path.read_bytes() == b"GGUF"
    folder = tmp_path / "folder"
    folder.mkdir()
    assert export("m:1", folder, format="gguf", library=library).path == folder / "m.gguf"
    with pytest.raises(AlreadyExists):
        export("m:1", folder, format="gguf", library=library)
    export("m:1", folder, format="gguf", library=library, force=True)
    publish("n:1", {"config.json": b"{}"})
    with pytest.raises(Unsupported, match="GGUF"):
        export("n:1", tmp_path / "n.gguf", format="gguf", library=library)


def test_a_damaged_blob_is_not_exported(
    library: Library, publish: Callable[..., object], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    version = publish("m:1", FILES)
    damage(library.blobs.path(version.manifest.files["config.json"].digest))  # type: ignore[attr-defined]
    with pytest.raises(IntegrityError):
        export("m:1", tmp_path / "out", library=library)
    assert not (tmp_path / "out").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".out")]


def test_bad_requests(library: Library, publish: Callable[..., object], tmp_path: Path) -> None:
    publish("m:1", FILES)
    with pytest.raises(NotFound):
        export("n:1", tmp_path / "out", library=library)
    with pytest.raises(InvalidRequest) as caught:
        export("m:1", tmp_path / "out", format="ggfu", library=library)
    assert "gguf" in str(caught.value.hint)
    for target in ("m:2", "hf:a/b", "./folder", "oci:h.io/x@sha256:" + "0" * 64):
        with pytest.raises(InvalidReference, match=r"registry|digest"):
            push("m:1", target, library=library)
