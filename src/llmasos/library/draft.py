"""Drafts: artefacts in the making. Nothing of a draft shows in the library until ``publish`` has succeeded."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos.errors import AlreadyExists, InvalidRequest, Unavailable
from llmasos.i18n import t
from llmasos.library.artifact_path import check_path, check_paths
from llmasos.library.blobs import PinnedBlobStore
from llmasos.library.card import CARD_PATH, default_card
from llmasos.library.disk import bury, full_disk_as_error, remove_tree
from llmasos.library.locks import DraftLock, store_lock, wait_until
from llmasos.library.manifest import CONFIG_MEDIA_TYPE, MANIFEST_MEDIA_TYPE, Descriptor, Manifest, canonical_json
from llmasos.library.metadata import (
    LINEAGE_ANNOTATION,
    METADATA_ANNOTATION,
    Lineage,
    Metadata,
    config_document,
)
from llmasos.library.reference import Reference

if TYPE_CHECKING:
    from llmasos.library.store import Library, Version

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


class Draft:
    """Collects the files of a new version. Made by :meth:`Library.draft`.

    Attributes:
        directory: a scratch folder on the disk of the library; ``add_file(..., move=True)`` from here is a rename.
        blobs: where to put blobs that belong to no path yet (layers of a manifest that is being pulled).
    """

    def __init__(self, library: Library, folder: Path) -> None:
        self._library = library
        self._files: dict[str, Descriptor] = {}
        self.directory = folder / "files"
        self.blobs = PinnedBlobStore(library.home, folder, reserve=library.disk_reserve)

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths added so far."""
        return tuple(self._files)

    def add_file(self, path: str, source: Path, *, move: bool = False) -> Descriptor:
        """Add a file of the artefact under ``path``.

        With ``move`` the source becomes the blob (a rename on the same disk); nobody may hold it open for writing.

        Raises:
            UnsafeContent: ``path`` leaves the artefact.
            AlreadyExists: the draft has this path.
            OutOfDisk: the file does not fit.
        """
        self._check_new(path)
        return self._add(path, self.blobs.add_file(source, move=move))

    def add_bytes(self, path: str, data: bytes) -> Descriptor:
        """Add a file of the artefact from memory; errors as :meth:`add_file`."""
        self._check_new(path)
        return self._add(path, self.blobs.add_bytes(data))

    def add_blob(self, path: str, blob: Descriptor) -> Descriptor:
        """Add a blob that was put into :attr:`blobs` as the file ``path``; errors as :meth:`add_file`."""
        self._check_new(path)
        return self._add(path, blob)

    def _check_new(self, path: str) -> None:
        if check_path(path) in self._files:
            raise AlreadyExists(
                t("the draft already has a file {path!r}", path=path),
                hint=t("Each file of an artefact needs a path of its own."),
            )

    def _add(self, path: str, blob: Descriptor) -> Descriptor:
        described = blob.with_path(path)
        self._files[path] = described
        return described

    def publish(
        self,
        name: Reference | None,
        metadata: Metadata,
        *,
        card: str | None = None,
        lineage: Lineage | None = None,
    ) -> Version:
        """Make the draft a version and point ``name`` at it, in one step that happens entirely or not at all.

        The card is ``card``, else a README.md that was added, else one written from metadata and lineage. A name that
        is in use moves to the new version; the old version stays until garbage collection.

        Raises:
            InvalidRequest: the draft has no files.
            UnsafeContent: two paths collide.
        """
        if not self._files:
            raise InvalidRequest(t("the draft has no files"), hint=t("Add at least one file before publishing."))
        if card is not None:
            self._files.pop(CARD_PATH, None)
            self.add_bytes(CARD_PATH, card.encode("utf-8"))
        elif CARD_PATH not in self._files:
            written = default_card(metadata, lineage, name=name, files=self._files.values())
            self.add_bytes(CARD_PATH, written.encode("utf-8"))
        check_paths(self._files)
        # Sorted, so that the same files give the same version in whatever order they were added.
        layers = tuple(self._files[path] for path in sorted(self._files))
        document = config_document(metadata, [layer.digest for layer in layers])
        config = self.blobs.add_bytes(canonical_json(document), media_type=CONFIG_MEDIA_TYPE)
        annotations = {METADATA_ANNOTATION: _json(metadata)}
        if lineage is not None:
            annotations[LINEAGE_ANNOTATION] = _json(lineage)
        return self.publish_manifest(Manifest(config, layers, annotations).to_bytes(), name)

    def publish_manifest(self, manifest: bytes, name: Reference | None, *, lineage: Lineage | None = None) -> Version:
        """Make a version of a manifest whose blobs were all put into :attr:`blobs` or are in the library.

        Args:
            lineage: how it came here, kept beside the lineage that the manifest itself carries.

        Raises:
            IntegrityError: the manifest is not valid, or a blob is missing or has another size.
            UnsafeContent: a path in the manifest is not allowed.
        """
        parsed = Manifest.from_bytes(manifest)
        self.blobs.add_bytes(manifest, media_type=MANIFEST_MEDIA_TYPE)
        for blob in parsed.blobs:
            self.blobs.pin(blob.digest)
        return self._library._publish(parsed, name, lineage)


def _json(document: Metadata | Lineage) -> str:
    return canonical_json(document.model_dump(mode="json", exclude_none=True)).decode("utf-8")


@contextmanager
def open_draft(library: Library, key: str | None, timeout: float) -> Iterator[Draft]:
    """See :meth:`Library.draft`."""
    if key is not None and _KEY.fullmatch(key) is None:
        raise ValueError(f"not a key of a draft: {key!r}")
    folder, lock = _claim(library.home, key, timeout)
    done = False
    try:
        draft = Draft(library, folder)
        with full_disk_as_error(library.home):
            draft.directory.mkdir(exist_ok=True)
        yield draft
        done = True
    finally:
        if done or key is None:
            with store_lock(library.home):
                dead = bury(folder)
                lock.release()
            remove_tree(dead)
        else:
            lock.release()


def _claim(home: Path, key: str | None, timeout: float) -> tuple[Path, DraftLock]:
    """Create or take over the staging folder and lock it."""
    staging = home / "staging"
    deadline = time.monotonic() + timeout
    while True:
        folder = staging / (key or secrets.token_hex(8))
        with store_lock(home), full_disk_as_error(home):
            folder.mkdir(parents=True, exist_ok=True)
            lock = DraftLock.try_acquire(folder)
        if lock is not None:
            return folder, lock
        if not wait_until(deadline):
            raise Unavailable(
                t("another process has been working on {key} for {seconds:.0f} s", key=key, seconds=timeout),
                hint=t("Wait for it to finish, or end it, and try again."),
            )
