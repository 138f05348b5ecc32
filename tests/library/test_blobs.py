import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmasos import progress
from llmasos.errors import IntegrityError, OutOfDisk
from llmasos.library import blobs as blobs_module
from llmasos.library import disk
from llmasos.library.blobs import BlobStore, PinnedBlobStore, copy_blob, try_link
from llmasos.library.digest import digest_of
from llmasos.progress import Event

DATA = b"some weights"


@pytest.fixture
def store(tmp_path: Path) -> PinnedBlobStore:
    staging = tmp_path / "home" / "staging" / "draft"
    staging.mkdir(parents=True)
    return PinnedBlobStore(tmp_path / "home", staging)


def leftovers(store: PinnedBlobStore) -> list[Path]:
    return list((store.home / "staging" / "draft" / ".tmp").glob("*"))


def test_a_blob_is_named_by_its_digest_read_only_and_pinned(store: PinnedBlobStore) -> None:
    added = store.add_bytes(DATA)
    assert (added.digest, added.size) == (digest_of(DATA), len(DATA))
    path = store.path(added.digest)
    assert path.name == added.digest.removeprefix("sha256:")
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert store.read(added.digest) == DATA
    assert list(store.digests()) == [added.digest]
    assert (store.home / "staging" / "draft" / ".pins" / path.name).exists()
    assert leftovers(store) == []


def test_a_stream_is_hashed_as_it_passes(store: PinnedBlobStore) -> None:
    with store.open_writer() as writer:
        writer.write(DATA[:5])
        assert writer.digest == digest_of(DATA[:5])
        writer.write(DATA[5:])
        added = writer.commit(digest=digest_of(DATA), size=len(DATA))
    assert store.has(added.digest)


def test_without_commit_nothing_stays(store: PinnedBlobStore) -> None:
    with store.open_writer() as writer:
        writer.write(DATA)
    with pytest.raises(RuntimeError), store.open_writer() as writer:
        writer.write(DATA)
        raise RuntimeError
    assert list(store.digests()) == []
    assert leftovers(store) == []


@pytest.mark.parametrize("expected", [{"digest": digest_of(b"other")}, {"size": 3}])
def test_other_bytes_than_expected_are_refused(store: PinnedBlobStore, expected: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        store.add_stream([DATA], **expected)
    assert list(store.digests()) == []
    assert leftovers(store) == []


def test_a_moved_file_becomes_the_blob(store: PinnedBlobStore, tmp_path: Path) -> None:
    source = tmp_path / "home" / "staging" / "draft" / "file"
    source.write_bytes(DATA)
    inode = source.stat().st_ino
    added = store.add_file(source, move=True)
    assert not source.exists()
    assert store.path(added.digest).stat().st_ino == inode


def test_moving_a_file_that_is_a_blob_already_removes_it(store: PinnedBlobStore, tmp_path: Path) -> None:
    store.add_bytes(DATA)
    source = tmp_path / "file"
    source.write_bytes(DATA)
    store.add_file(source, move=True)
    assert not source.exists()
    assert list(store.digests()) == [digest_of(DATA)]


def test_a_moved_file_with_the_wrong_digest_stays_where_it_is(store: PinnedBlobStore, tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_bytes(DATA)
    with pytest.raises(IntegrityError):
        store.add_file(source, move=True, digest=digest_of(b"other"))
    assert source.read_bytes() == DATA


def test_a_link_is_followed_and_its_target_stays(store: PinnedBlobStore, tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(DATA)
    link.symlink_to(target)
    added = store.add_file(link, move=True)
    assert target.read_bytes() == DATA
    assert stat.S_IMODE(target.stat().st_mode) & 0o200
    assert not link.exists()
    assert store.read(added.digest) == DATA


def test_copied_files_stay(store: PinnedBlobStore, tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_bytes(DATA)
    store.add_file(source)
    assert source.read_bytes() == DATA


def test_adding_a_damaged_blob_again_repairs_it(store: PinnedBlobStore, damage: Callable[[Path], None]) -> None:
    added = store.add_bytes(DATA)
    damage(store.path(added.digest))
    with pytest.raises(IntegrityError):
        store.verify(added.digest)
    store.add_bytes(DATA)
    store.verify(added.digest, size=len(DATA))
    assert store.read(added.digest) == DATA


def test_adding_a_sound_blob_again_keeps_the_file(store: PinnedBlobStore) -> None:
    added = store.add_bytes(DATA)
    inode = store.path(added.digest).stat().st_ino
    store.add_bytes(DATA)
    assert store.path(added.digest).stat().st_ino == inode


def test_damage_is_seen(store: PinnedBlobStore, damage: Callable[[Path], None]) -> None:
    added = store.add_bytes(DATA)
    with pytest.raises(IntegrityError, match="bytes instead of"):
        store.verify(added.digest, size=3)
    damage(store.path(added.digest))
    for check in (store.verify, store.read):
        with pytest.raises(IntegrityError, match="damaged") as caught:
            check(added.digest)
        assert "--force" in str(caught.value.hint)
    store.path(added.digest).unlink()
    for check in (store.verify, store.read, store.size, store.open):
        with pytest.raises(IntegrityError, match="missing"):
            check(added.digest)


def test_many_are_checked_at_once_with_progress(store: PinnedBlobStore, damage: Callable[[Path], None]) -> None:
    added = {blob.digest: blob.size for blob in (store.add_bytes(b"%d" % number * 9) for number in range(20))}
    first, second, third, *_ = added
    damage(store.path(first))
    store.path(second).unlink()
    added[third] += 1
    events: list[Event] = []
    with progress.reporting(events.append):
        problems = store.verify_all(added, "check")
    assert {digest: problem.trouble for digest, problem in problems.items()} == {
        first: "damaged",
        second: "missing",
        third: "size",
    }
    assert (events[0].label, events[0].total, events[0].unit) == ("check", sum(added.values()), "B")
    assert events[-1].completed == sum(added.values()) - added[second] - added[third]


def test_an_empty_store_has_nothing(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "nowhere")
    assert list(store.digests()) == []
    assert not store.has(digest_of(DATA))


def test_space_is_checked_before_the_first_byte(store: PinnedBlobStore) -> None:
    with pytest.raises(OutOfDisk) as caught, store.open_writer(size=2**60):
        pytest.fail("the writer was opened")
    assert caught.value.needed == 2**60
    assert 0 < caught.value.free < 2**60
    assert caught.value.hint


def test_the_reserve_stays_free(tmp_path: Path) -> None:
    store = PinnedBlobStore(tmp_path, tmp_path, reserve=2**60)
    with pytest.raises(OutOfDisk):
        store.add_bytes(DATA)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_meanwhile_is_an_error_of_ours(
    store: PinnedBlobStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(blobs_module.os, "fsync", full)
    with pytest.raises(OutOfDisk):
        store.add_bytes(DATA)
    monkeypatch.undo()
    assert list(store.digests()) == []
    assert leftovers(store) == []
    store.add_bytes(DATA)


def test_other_errors_of_the_system_are_not_called_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), disk.full_disk_as_error(tmp_path):
        raise PermissionError(errno.EACCES, "no")


def test_links_where_the_file_system_has_them(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(DATA)
    assert try_link(source, tmp_path / "b")
    assert (tmp_path / "b").samefile(source)


def test_no_links_where_the_file_system_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    source = tmp_path / "a"
    source.write_bytes(DATA)
    monkeypatch.setattr(blobs_module.os, "link", refuse)
    assert not try_link(source, tmp_path / "b")
    copy_blob(source, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == DATA
    assert not (tmp_path / "b").samefile(source)
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o444
