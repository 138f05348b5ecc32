import errno
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmasos.errors import IntegrityError, NotFound, UnsafeContent, Unsupported
from llmasos.library import blobs as blobs_module
from llmasos.library.manifest import FILEPATH, Descriptor, Manifest
from llmasos.library.store import Library

FILES = {"config.json": b"{}", "deep/er/model.safetensors": b"weights"}


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "README.md"
    }


def test_a_view_is_made_of_links(library: Library, publish: Any) -> None:
    version = publish("a", FILES)
    folder = library.view(version)
    assert folder == library.home / "views" / version.digest.removeprefix("sha256:")
    assert content(folder) == FILES
    blob = library.blobs.path(version.manifest.files["config.json"].digest)
    assert (folder / "config.json").samefile(blob)
    assert library.view(version) == folder
    assert library.view(version, verify=False) == folder


@pytest.mark.parametrize("seen_before", [False, True])
def test_a_flipped_bit_is_refused(
    library: Library, publish: Any, damage: Callable[[Path], None], seen_before: bool
) -> None:
    version = publish("a", FILES)
    if seen_before:
        library.view(version)
    damage(library.blobs.path(version.manifest.files["deep/er/model.safetensors"].digest))
    with pytest.raises(IntegrityError, match="damaged"):
        library.view(version)


def test_a_missing_blob_is_refused(library: Library, publish: Any) -> None:
    version = publish("a", FILES)
    library.blobs.path(version.manifest.files["config.json"].digest).unlink()
    for verify in (True, False):
        with pytest.raises(IntegrityError, match="missing"):
            library.view(version, verify=verify)
    assert list((library.home / "views").iterdir()) == []


def test_a_truncated_blob_is_refused_even_without_checking_digests(library: Library, publish: Any) -> None:
    version = publish("a", FILES)
    path = library.blobs.path(version.manifest.files["config.json"].digest)
    path.chmod(0o644)
    path.write_bytes(b"")
    with pytest.raises(IntegrityError, match="bytes instead of"):
        library.view(version, verify=False)


def test_a_tampered_view_is_put_right(library: Library, publish: Any) -> None:
    version = publish("a", FILES)
    folder = library.view(version)
    (folder / "config.json").unlink()
    (folder / "config.json").write_bytes(b"!!")  # the right size, other bytes
    (folder / "deep/er/model.safetensors").unlink()
    (folder / "extra.py").write_text("import os")
    (folder / "link").symlink_to("/etc/passwd")
    assert content(library.view(version, verify=False)) == FILES
    assert not (folder / "link").is_symlink()


def test_repairing_a_blob_repairs_its_view(library: Library, publish: Any, damage: Callable[[Path], None]) -> None:
    version = publish("a", FILES)
    folder = library.view(version)
    damage(library.blobs.path(version.manifest.files["config.json"].digest))
    publish("a", FILES)
    assert content(library.view(version)) == FILES
    assert content(folder) == FILES


def test_copies_where_there_are_no_links(
    library: Library, publish: Any, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(blobs_module.os, "link", refuse)
    version = publish("a", FILES)
    folder = library.view(version)
    assert content(folder) == FILES
    assert library.verify().ok
    copy = folder / "config.json"
    damage(copy)
    assert [(problem.trouble, problem.paths) for problem in library.verify().problems] == [("view", ("config.json",))]
    assert content(library.view(version)) == FILES
    assert library.verify().ok


def test_archives_are_refused(library: Library) -> None:
    with library.draft() as draft:
        config = draft.blobs.add_bytes(b'{"descriptor":{},"config":{}}')
        blob = draft.blobs.add_bytes(b"tar")
        layer = Descriptor("application/vnd.cncf.model.weight.v1.tar", blob.digest, blob.size, {FILEPATH: "a.tar"})
        version = draft.publish_manifest(Manifest(config, (layer,)).to_bytes(), None)
        with pytest.raises(Unsupported, match=r"a\.tar"):
            library.view(version)


def test_paths_that_only_differ_in_case(library: Library, publish: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    version = publish("a", {"x": b"1", "X": b"2"})
    assert content(library.view(version)) == {"x": b"1", "X": b"2"}
    library.remove("a")
    version = publish("a", {"x": b"1", "X": b"2"})
    real = blobs_module.os.link
    # A file system that does not tell them apart finds the second one taken.
    monkeypatch.setattr(blobs_module.os, "link", lambda source, target: real(source, str(target).lower()))
    with pytest.raises(UnsafeContent, match="capital letters"):
        library.view(version)


def test_a_version_that_was_removed_meanwhile_is_not_called_damaged(library: Library, publish: Any) -> None:
    version = publish("a", FILES)
    library.remove("a")
    with pytest.raises(NotFound):
        library.view(version)


def test_many_at_once(library: Library, publish: Any) -> None:
    version = publish("a", FILES)
    seen: list[dict[str, bytes]] = []

    def work() -> None:
        seen.extend(content(Library(library.home).view(version)) for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [FILES] * 20
    assert len(list((library.home / "views").iterdir())) == 1
