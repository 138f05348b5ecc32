"""Garbage collection by mark and sweep, safe while other processes work.

Everything happens under the store lock, under which blobs are also pinned, placed and published. Marked are the blobs
of all versions that are kept and the pins of living drafts; the sweep removes the rest. The catalogue forgets first,
then files are deleted: a kill in between leaves files that the next collection removes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos.library.blobs import BlobStore, make_deletable
from llmasos.library.catalogue import FileRow
from llmasos.library.digest import hex_of
from llmasos.library.disk import DEAD, bury, remove_tree
from llmasos.library.locks import DraftLock, store_lock

if TYPE_CHECKING:
    from llmasos.library.store import Library


@dataclass
class GcReport:
    """What a collection removed, or would remove in a dry run."""

    versions: list[str] = field(default_factory=list)
    blobs: list[str] = field(default_factory=list)
    bytes: int = 0
    drafts: int = 0
    draft_bytes: int = 0
    views: int = 0
    lineage: int = 0


class _DryRunDone(Exception):  # noqa: N818 - not an error
    """Rolls the transaction of a dry run back."""


def collect(library: Library, *, dry_run: bool = False) -> GcReport:
    """Remove what nothing needs. See :meth:`Library.gc`."""
    report = GcReport()
    graves: list[Path] = []
    with store_lock(library.home), ExitStack() as dead_locks:
        dead, pinned = _drafts(library.home, dead_locks)
        kept: set[str] = set()
        needed: set[str] = set()
        try:
            with library.catalogue.database.write() as connection:
                report.versions = library.catalogue.remove_nameless(connection)
                report.lineage = library.catalogue.prune_lineage(connection)
                needed = library.catalogue.needed_blobs(connection)
                kept = {row.digest for row in library.catalogue.rows(connection=connection)}
                if dry_run:
                    raise _DryRunDone
        except _DryRunDone:
            pass
        for digest, size in _unneeded(library.blobs, needed | pinned):
            report.blobs.append(digest)
            report.bytes += size
            if not dry_run:
                _delete_blob(library.blobs, digest)
        for folder in dead:
            report.drafts += 1
            report.draft_bytes += _size(folder)
            if not dry_run:
                graves.append(folder if folder.name.startswith(DEAD) else bury(folder))
        for view in _stale_views(library.home, {hex_of(digest) for digest in kept}):
            report.views += 1
            if not dry_run:
                graves.append(view if view.name.startswith(DEAD) else bury(view))
    for grave in graves:
        remove_tree(grave)
    return report


def sweep_version(library: Library, digest: str, candidates: Iterable[FileRow]) -> int:
    """Delete the blobs and the view of a version that the catalogue has just forgotten; returns the bytes freed.

    Call it under the store lock, after the transaction.
    """
    with ExitStack() as dead_locks:
        _, pinned = _drafts(library.home, dead_locks)
    with library.catalogue.database.read() as connection:
        needed = library.catalogue.needed_blobs(connection) | pinned
    freed = 0
    for candidate in {file.digest: file for file in candidates}.values():
        if candidate.digest not in needed and library.blobs.has(candidate.digest):
            freed += library.blobs.size(candidate.digest)
            _delete_blob(library.blobs, candidate.digest)
    view = library.home / "views" / hex_of(digest)
    if view.is_dir():
        remove_tree(bury(view))
    return freed


def _drafts(home: Path, dead_locks: ExitStack) -> tuple[list[Path], set[str]]:
    """The staging folders whose process has gone, and the blobs that living drafts have pinned."""
    dead: list[Path] = []
    pinned: set[str] = set()
    staging = home / "staging"
    for folder in sorted(staging.iterdir()) if staging.is_dir() else []:
        if folder.name.startswith(DEAD):  # perhaps being deleted right now, so nothing may be created in it
            dead.append(folder)
            continue
        if not folder.is_dir():
            continue
        lock = DraftLock.try_acquire(folder)
        if lock is not None:
            dead_locks.callback(lock.release)
            dead.append(folder)
            continue
        pins = folder / ".pins"
        if pins.is_dir():
            pinned.update(f"sha256:{pin.name}" for pin in pins.iterdir())
    return dead, pinned


def _unneeded(blobs: BlobStore, needed: set[str]) -> list[tuple[str, int]]:
    return sorted((digest, blobs.size(digest)) for digest in blobs.digests() if digest not in needed)


def _delete_blob(blobs: BlobStore, digest: str) -> None:
    path = blobs.path(digest)
    make_deletable(path)
    path.unlink(missing_ok=True)


def _stale_views(home: Path, kept: set[str]) -> list[Path]:
    """Views of versions that are gone, and unfinished ones: they are only built under the store lock."""
    views = home / "views"
    return [entry for entry in sorted(views.iterdir()) if entry.name not in kept] if views.is_dir() else []


def _size(folder: Path) -> int:
    """Bytes of the files in a folder that somebody else may be deleting."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(parent) / name).lstat().st_size
    return total
