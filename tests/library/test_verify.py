from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from llmasos.errors import IntegrityError, NotFound
from llmasos.library.blobs import BlobStore
from llmasos.library.store import Library


def test_a_sound_library(library: Library, publish: Any) -> None:
    publish("a", {"x": b"1", "shared": b"s"})
    publish("b", {"y": b"2", "shared": b"s"})
    report = library.verify()
    assert report.ok
    assert report.versions == 2
    # 2 manifests, 2 cards, 2 configurations, x, y, shared
    assert report.blobs == 9
    assert library.verify("a").blobs == 5
    with pytest.raises(NotFound):
        library.verify("c")


def test_an_empty_library_is_sound(library: Library) -> None:
    assert library.verify().ok


def test_a_flipped_bit_is_found_with_everything_it_touches(
    library: Library, publish: Any, damage: Callable[[Path], None]
) -> None:
    version = publish("a", {"x": b"1", "shared": b"s"})
    publish("b", {"y": b"2", "other name": b"s"})
    publish("c", {"z": b"3"})
    digest = version.manifest.files["shared"].digest
    damage(library.blobs.path(digest))
    [problem] = library.verify().problems
    assert (problem.trouble, problem.digest) == ("damaged", digest)
    assert problem.versions == ("a:latest", "b:latest")
    assert set(problem.paths) == {"shared", "other name"}
    assert library.verify("c").ok
    assert not library.verify("a").ok


def test_missing_truncated_and_damaged_manifests_are_found(
    library: Library, publish: Any, damage: Callable[[Path], None]
) -> None:
    first, second, third = (publish(name, {"x": name.encode()}) for name in "abc")
    library.blobs.path(first.manifest.files["x"].digest).unlink()
    path = library.blobs.path(second.manifest.config.digest)
    path.chmod(0o644)
    path.write_bytes(b"")
    damage(library.blobs.path(third.digest))
    troubles = {(problem.trouble.value, problem.versions) for problem in library.verify().problems}
    assert troubles == {
        ("missing", ("a:latest",)),
        ("size", ("a:latest", "b:latest", "c:latest")),  # the same configuration
        ("manifest", ("c:latest",)),
    } or troubles == {
        ("missing", ("a:latest",)),
        ("size", ("b:latest",)),
        ("manifest", ("c:latest",)),
    }
    with pytest.raises(IntegrityError):
        library.resolve("c")


def test_a_catalogue_that_disagrees_with_a_manifest_is_found(library: Library, publish: Any) -> None:
    publish("a", {"x": b"1"})
    with library.catalogue.database.write() as connection:
        connection.execute(text("UPDATE files SET path = 'y' WHERE path = 'x'"))
    [problem] = library.verify().problems
    assert problem.trouble == "manifest"
    assert "other files" in problem.message


def test_a_version_that_goes_meanwhile_is_no_problem(
    library: Library, publish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("a", {"x": b"1"})
    publish("b", {"x": b"2"})
    real = BlobStore.verify_all

    def remove_first(*arguments: Any) -> Any:
        library.remove("a")
        return real(*arguments)

    monkeypatch.setattr(BlobStore, "verify_all", remove_first)
    assert library.verify().ok


def test_blobs_without_a_version_are_counted(library: Library) -> None:
    with library.draft() as draft:
        draft.add_bytes("x", b"1")
    report = library.verify()
    assert report.ok
    assert report.unneeded == 1
