import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmasos.library.digest import digest_of
from llmasos.library.kind import Kind
from llmasos.library.metadata import Lineage, LineageInput, Metadata
from llmasos.library.reference import Reference
from llmasos.library.store import Library


def test_nothing_to_do(library: Library, publish: Any) -> None:
    publish("a")
    report = library.gc()
    assert (report.versions, report.blobs, report.bytes, report.drafts, report.views) == ([], [], 0, 0, 0)
    assert library.verify().ok


def test_versions_that_lost_their_name_go(library: Library, publish: Any) -> None:
    old = publish("a", {"x": b"old", "shared": b"s"})
    library.view(old)
    new = publish("a", {"x": b"new", "shared": b"s"})
    planned = library.gc(dry_run=True)
    assert library.resolve(old.digest).digest == old.digest
    report = library.gc()
    assert planned == report
    assert report.versions == [old.digest]
    assert set(report.blobs) == {blob.digest for blob in old.manifest.blobs} - {
        blob.digest for blob in new.manifest.blobs
    } | {old.digest}
    assert report.views == 1
    assert [row.digest for row in library.versions()] == [new.digest]
    assert not library.blobs.has(digest_of(b"old"))
    assert library.verify().ok


def test_the_base_of_a_kept_adapter_stays(library: Library, publish: Any) -> None:
    root = publish("tmp", {"x": b"root"})
    base = publish("tmp", {"x": b"base"}, metadata=Metadata(kind=Kind.ADAPTER, base=root.digest))
    publish("tmp", {"x": b"other"})
    publish("adapter", {"x": b"a"}, metadata=Metadata(kind=Kind.STEERING_VECTOR, base=base.digest))
    assert library.gc().versions == []
    library.remove("adapter")
    assert set(library.gc().versions) == {base.digest, root.digest}


def test_history_stays_as_long_as_something_came_from_it(library: Library, publish: Any) -> None:
    def lineage(step: str, *digests: str) -> Lineage:
        return Lineage(step=step, inputs=[LineageInput(role="base", digest=digest) for digest in digests])

    first = publish("first", {"x": b"1"}, lineage=lineage("pull"))
    second = publish("second", {"x": b"2"}, lineage=lineage("train", first.digest))
    publish("third", {"x": b"3"}, lineage=lineage("quantize", second.digest))
    publish("unrelated", {"x": b"4"}, lineage=lineage("pull"))
    for name in ("first", "second", "unrelated"):
        library.remove(name)
    assert library.gc().lineage == 1
    assert [step.step for step in library.lineage(first.digest)] == ["pull"]
    library.remove("third")
    assert library.gc().lineage == 3
    assert library.lineage(first.digest) == []


def test_a_living_draft_is_left_alone(library: Library) -> None:
    with library.draft() as draft:
        draft.add_bytes("x", b"mine")
        (draft.directory / "scratch").write_bytes(b"scratch")
        report = Library(library.home).gc()
        assert (report.blobs, report.drafts) == ([], 0)
        version = draft.publish(Reference.parse("a"), Metadata())
    assert library.verify(version.digest).ok


def test_a_draft_whose_process_died_goes(library: Library) -> None:
    library.names()
    code = f"""
import os
from pathlib import Path
from llmasos.library.store import Library
with Library(Path({str(library.home)!r})).draft() as draft:
    draft.add_bytes("x", b"orphan")
    (draft.directory / "part").write_bytes(b"12345")
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert library.blobs.has(digest_of(b"orphan"))
    assert library.verify().unneeded == 1
    report = library.gc()
    assert (report.drafts, report.blobs) == (1, [digest_of(b"orphan")])
    assert report.draft_bytes >= 5
    assert list((library.home / "staging").iterdir()) == []


def test_what_a_failed_draft_kept_for_later_goes(library: Library) -> None:
    with pytest.raises(RuntimeError), library.draft("pull-x"):
        raise RuntimeError
    assert library.gc().drafts == 1


def test_remains_of_a_kill_go(library: Library, publish: Any) -> None:
    version = publish("a")
    library.view(version)
    views = library.home / "views"
    (views / ".tmp-123").mkdir()
    (views / (".dead-" + "1" * 16)).mkdir()
    (views / ("f" * 64)).mkdir()
    (library.home / "staging" / ".dead-1").mkdir()
    (library.home / "staging" / ".dead-1" / "x").write_bytes(b"")
    report = library.gc()
    assert (report.views, report.drafts) == (3, 1)
    assert [path.name for path in views.iterdir()] == [version.digest.removeprefix("sha256:")]


def test_files_that_are_no_blobs_are_not_touched(library: Library, publish: Any) -> None:
    publish("a")
    stranger = library.blobs.root / "notes.txt"
    stranger.write_text("mine")
    assert library.gc().blobs == []
    assert library.verify().unneeded == 0
    assert stranger.exists()


def test_gc_survives_a_view_that_disappears(library: Library, publish: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may delete the same remains at the same time."""
    library.view(publish("a"))
    library.remove("a")
    gone = library.home / "views" / ".dead-x"
    (gone / "sub").mkdir(parents=True)
    (gone / "sub" / "file").write_bytes(b"")
    real = os.unlink

    def racing(path: Any, *args: Any, **kwargs: Any) -> None:
        real(path, *args, **kwargs)
        real(path, *args, **kwargs) if str(path).endswith("file") else None

    monkeypatch.setattr(os, "unlink", racing)
    assert library.gc().views == 1
    assert not Path(gone).exists()
