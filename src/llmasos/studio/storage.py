"""What the home folder takes on the disk, and what of it can go."""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from llmasos.data.token_cache import TokenCache
from llmasos.errors import InUse
from llmasos.i18n import t
from llmasos.library.disk import bury, remove_tree
from llmasos.library.gc import GcReport
from llmasos.library.store import Library
from llmasos.runs.states import ACTIVE
from llmasos.runs.store import RunStore

#: Folders of the home folder, with what they hold. Blobs are counted by what they belong to.
Part = Literal[
    "model",
    "adapter",
    "dataset",
    "other",
    "runs",
    "evaluations",
    "uploads",
    "conversations",
    "cache",
    "unneeded",
    "rest",
]
_FOLDERS: dict[str, Part] = {
    "runs": "runs", "evaluations": "evaluations", "uploads": "uploads", "conversations": "conversations",
    "cache": "cache", "staging": "unneeded",
}  # fmt: skip
_REBUILT = ("tokens", "presets", "evaluation")
"""Folders of the cache whose content is made or fetched again when it is needed."""


@dataclass
class Usage:
    """Bytes on the disk, by part; what several names share is counted once."""

    parts: dict[Part, int] = field(default_factory=lambda: defaultdict(int))

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Waste:
    """What a clean-up removes."""

    report: GcReport
    caches: int

    @property
    def total(self) -> int:
        """Bytes that get free."""
        return self.report.bytes + self.report.draft_bytes + self.caches


def usage(library: Library) -> Usage:
    """Look through the whole home folder: that takes a while where there are many files."""
    found = Usage()
    seen: set[tuple[int, int]] = set()
    kinds = _kinds_of_blobs(library)
    blobs = library.home / "blobs" / "sha256"
    for path, size in _files(blobs, seen):
        found.parts[kinds.get(f"sha256:{path.name}", "unneeded")] += size
    for name, part in _FOLDERS.items():
        found.parts[part] += sum(size for _, size in _files(library.home / name, seen))
    found.parts["rest"] += sum(size for _, size in _files(library.home, seen))
    return found


def waste(library: Library) -> Waste:
    """What nothing needs; nothing is removed."""
    return Waste(library.gc(dry_run=True), _caches(library))


def clean_up(library: Library, *, caches: bool) -> Waste:
    """Remove what nothing names any more and, if asked for, what can be made or fetched again.

    Raises:
        InUse: caches are to go, and a run that may be reading them is going on.
    """
    freed = 0
    if caches:
        active = RunStore(library).all(states=ACTIVE)
        if active:
            raise InUse(
                t("{count} run(s) are going on, which may use the caches", count=len(active)),
                hint=t("Wait until they end, or clean up without the caches."),
            )
        freed = _caches(library)
        root = library.home / "cache"
        TokenCache(root / "tokens").prune(0)
        for name in _REBUILT:
            if name != "tokens" and (root / name).is_dir():
                remove_tree(bury(root / name))
    return Waste(library.gc(), freed)


def _caches(library: Library) -> int:
    seen: set[tuple[int, int]] = set()
    return sum(size for name in _REBUILT for _, size in _files(library.home / "cache" / name, seen))


def _kinds_of_blobs(library: Library) -> dict[str, Part]:
    from sqlalchemy import select

    from llmasos.library.schema import files, versions

    own: dict[str, Part] = {"model": "model", "adapter": "adapter", "dataset": "dataset"}
    question = select(files.c.digest, versions.c.kind).join(versions, versions.c.digest == files.c.version)
    with library.catalogue.database.read() as connection:
        found: dict[str, Part] = {}
        for digest, kind in connection.execute(question):
            found.setdefault(digest, own.get(kind, "other"))
        for digest in connection.execute(select(versions.c.digest)).scalars():
            found.setdefault(digest, "other")
        return found


def _files(folder: Path, seen: set[tuple[int, int]]) -> list[tuple[Path, int]]:
    """Files below a folder that were not seen, with their size: a file may have several names there."""
    found = []
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent) / name
            with suppress(FileNotFoundError):
                facts = path.lstat()
                key = (facts.st_dev, facts.st_ino)
                if key not in seen:
                    seen.add(key)
                    found.append((path, facts.st_size))
    return found
