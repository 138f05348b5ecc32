"""The library: names, versions, drafts, views. The one door through which other parts use the model library.

On disk (see docs/architecture.md): ``blobs/sha256/<hex>`` immutable bytes, ``views/<hex>/`` versions as folders,
``staging/`` drafts, ``locks/``, and the catalogue in ``catalogue.db`` or the database of the settings.

Every change is safe against kill -9 and against other processes: blobs and manifest are durable before the catalogue
mentions them, and the catalogue forgets them before they are deleted.
"""

from __future__ import annotations

import fnmatch
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from llmasos.errors import IntegrityError, InUse, InvalidReference, NotFound, OutOfDisk
from llmasos.home import home_directory
from llmasos.i18n import t
from llmasos.library.digest import is_digest
from llmasos.library.quick_list import read_names, read_rows
from llmasos.library.reference import Reference
from llmasos.library.version import Removal, Version, VersionRow

# What only some operations need is imported by them: `llmasos list` needs neither manifests nor pydantic.
if TYPE_CHECKING:
    from sqlalchemy import Connection

    from llmasos.library.blobs import BlobStore
    from llmasos.library.catalogue import Catalogue, LineageRow
    from llmasos.library.draft import Draft
    from llmasos.library.gc import GcReport
    from llmasos.library.manifest import Manifest
    from llmasos.library.metadata import Lineage, Metadata
    from llmasos.library.verify import VerifyReport
    from llmasos.settings import Settings

__all__ = ["Library", "Removal", "Version", "VersionRow"]

_Result = TypeVar("_Result")


class Library:
    """The model library of one home folder.

    Args:
        home: the folder; default: the one of the settings.
        database: SQLAlchemy URL of the catalogue; default: that of the settings, else SQLite in ``home``.
    """

    def __init__(self, home: Path | None = None, *, database: str | None = None) -> None:
        self._settings = _settings_if_any()
        if home is None:
            home = self._settings.home if self._settings is not None else home_directory()
            database = database or (self._settings.database if self._settings is not None else None)
        self.home = home.expanduser().absolute()
        self._url = database or f"sqlite:///{self.home / 'catalogue.db'}"
        # The file to list from without SQLAlchemy, as long as nothing has imported it.
        self._quick = self.home / "catalogue.db" if database is None and "sqlalchemy" not in sys.modules else None

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the catalogue, with its password if it has one."""
        return self._url

    @property
    def disk_reserve(self) -> int:
        """Bytes that additions leave free on the disk."""
        from llmasos.settings import get_settings

        return (self._settings or get_settings()).disk_reserve

    @cached_property
    def catalogue(self) -> Catalogue:
        """Names, versions and lineage."""
        from llmasos.library.catalogue import Catalogue
        from llmasos.library.database import Database

        self._quick = None
        return Catalogue(Database(self._url, self.home))

    @cached_property
    def blobs(self) -> BlobStore:
        """The blobs, for reading."""
        from llmasos.library.blobs import BlobStore

        return BlobStore(self.home)

    def close(self) -> None:
        """Close the connections to the catalogue."""
        if "catalogue" in self.__dict__:
            self.catalogue.database.close()

    # Questions

    def names(self) -> list[str]:
        """Every ``name:tag``, sorted."""
        if self._quick is not None and (found := read_names(self._quick)) is not None:
            return found
        return self.catalogue.names()

    def versions(self, *, kind: str | None = None, pattern: str | None = None) -> list[VersionRow]:
        """All versions, the newest first.

        Args:
            kind: only this kind of artefact.
            pattern: only versions with a name that matches, with ``*`` and ``?``; ``smol*`` also finds every tag.
        """
        rows = read_rows(self._quick) if self._quick is not None else None
        if rows is None:
            rows = self.catalogue.rows()
        if kind is not None:
            rows = [row for row in rows if row.kind == kind]
        if pattern is not None:
            rows = [row for row in rows if any(_matches(name, pattern) for name in row.names)]
        return rows

    def resolve(self, reference: str | Reference) -> Version:
        """The version that a name, or a digest ``sha256:...``, means.

        Raises:
            InvalidReference: the text is not a reference.
            NotFound: the library has nothing of this name; the hint offers near names.
            IntegrityError: the version's manifest is missing or damaged.
        """
        digest = self.digest_of(reference)
        return self.version(digest)

    def digest_of(self, reference: str | Reference) -> str:
        """The digest that a reference means, without opening the manifest. Raises as :meth:`resolve`."""
        digest = self._find(reference)
        if digest is None:
            raise self._not_found(reference)
        return digest

    def has(self, reference: str | Reference) -> bool:
        """Whether the library has it."""
        return self._find(reference) is not None

    def version(self, digest: str) -> Version:
        """The version with this digest. Raises as :meth:`resolve`."""
        rows = self.catalogue.rows(digest=digest)
        if not rows:
            raise self._not_found(digest)
        with self._unless_removed(digest):
            manifest, metadata = self.read_manifest(digest)
        row = rows[0]
        return Version(digest, manifest, metadata, row.names, row.created or row.published, row.published)

    def read_manifest(self, digest: str) -> tuple[Manifest, Metadata]:
        """The manifest with this digest, checked, and its metadata. Raises as :meth:`resolve`."""
        from llmasos.library.manifest import Manifest

        manifest = Manifest.from_bytes(self.blobs.read(digest))
        return manifest, self._metadata(manifest)

    def _metadata(self, manifest: Manifest) -> Metadata:
        from llmasos.library.manifest import MAX_MANIFEST_BYTES, parse_json
        from llmasos.library.metadata import METADATA_ANNOTATION, Metadata, decode, metadata_from_config

        metadata = decode(Metadata, manifest.annotations, METADATA_ANNOTATION)
        if metadata is None:  # another tool's artefact
            if manifest.config.size > MAX_MANIFEST_BYTES:
                return metadata_from_config(None)
            metadata = metadata_from_config(parse_json(self.blobs.read(manifest.config.digest)))
        return metadata

    def lineage(self, version: Version | str) -> list[LineageRow]:
        """The steps that made a version and brought it here."""
        return self.catalogue.lineage_of(version if isinstance(version, str) else version.digest)

    def card(self, version: Version) -> str:
        """The version's card (README.md); empty for an artefact of another tool that has none.

        Raises:
            IntegrityError: its blob is missing or damaged.
        """
        from llmasos.library.card import CARD_PATH

        file = version.manifest.files.get(CARD_PATH)
        return self.blobs.read(file.digest).decode("utf-8", errors="replace") if file is not None else ""

    # Changes

    def draft(self, key: str | None = None, *, timeout: float = 24 * 3600.0) -> AbstractContextManager[Draft]:
        """Begin a new version: ``with library.draft() as draft: ...; draft.publish(...)``.

        The draft's scratch folder goes when the block ends or the process dies.

        Args:
            key: a name of the work (letters, digits, ``._-``). Then only one process at a time works on it, the
                others wait; and when the block fails or the process dies, the folder stays for the next draft with
                this key, so that a download can go on where it stopped. Garbage collection removes it.
            timeout: seconds to wait for another process with the same key.

        Raises:
            Unavailable: another process worked on the same key all the time.
        """
        from llmasos.library.draft import open_draft

        return open_draft(self, key, timeout)

    def publish_manifest(
        self, manifest_bytes: bytes, name: Reference | None, lineage: Lineage | None = None
    ) -> Version:
        """Make a version of a manifest whose blobs are all in the library.

        Blobs that no version needs yet are safe from garbage collection only while the draft that added them is
        open; inside it use ``draft.publish_manifest``.

        Raises:
            IntegrityError: the manifest is not valid, or a blob is missing or has another size.
            UnsafeContent: a path in the manifest is not allowed.
        """
        with self.draft() as draft:
            return draft.publish_manifest(manifest_bytes, name, lineage=lineage)

    def _publish(self, manifest: Manifest, name: Reference | None, received: Lineage | None) -> Version:
        """Write the version into the catalogue. The caller's draft has pinned all blobs."""
        from llmasos.library.blobs import wrong_size
        from llmasos.library.disk import Ballast
        from llmasos.library.publication import base_digest, lineage_rows, new_version

        for blob in manifest.blobs:
            if (actual := self.blobs.size(blob.digest)) != blob.size:
                raise wrong_size(blob.digest, actual, blob.size)
        metadata = self._metadata(manifest)
        base = base_digest(manifest, metadata, self.catalogue.find)
        version = new_version(manifest, metadata, base)
        steps = lineage_rows(manifest, name, received)
        Ballast(self.home / "locks" / "ballast").restore()
        with self._store_lock(), self.catalogue.database.write() as connection:
            self.catalogue.add_version(version, connection)
            for step in steps:
                self.catalogue.add_lineage(step, connection)
            if name is not None:
                self.catalogue.set_name(name, manifest.digest, connection)
        return self.version(manifest.digest)

    def tag(self, source: str | Reference, target: str | Reference) -> Version:
        """Give a version another name; a name in use moves.

        Raises:
            InvalidReference: the target is not a name with a tag.
            NotFound: the library has no ``source``.
        """
        name = target if isinstance(target, Reference) else Reference.parse(target)
        if name.digest is not None:
            raise InvalidReference(
                t("{text!r} has a digest; a new name must not have one", text=str(name)),
                hint=t("Write name:tag or namespace/name:tag."),
            )
        with self._store_lock():
            digest = self.digest_of(source)
            with self.catalogue.database.write() as connection:
                self.catalogue.set_name(name, digest, connection)
        return self.version(digest)

    def remove(self, reference: str | Reference, *, force: bool = False) -> Removal:
        """Remove a name, and the version with its blobs if no other name points at it.

        A digest removes the version with all its names.

        Raises:
            NotFound: the library has nothing of this name.
            InUse: adapters or steering vectors need the version, unless ``force``.
        """
        return self.freeing(lambda: self._remove(reference, force))

    def _remove(self, reference: str | Reference, force: bool) -> Removal:
        from llmasos.library.gc import sweep_version

        with self._store_lock():
            with self.catalogue.database.write() as connection:
                digest = self._find(reference, connection)
                if digest is None:
                    raise self._not_found(reference)
                names = self.catalogue.names_of(digest, connection)
                name = self._as_reference(reference)
                if name is not None and name.digest is None:
                    self.catalogue.remove_name(name, connection)
                    gone = [str(name)]
                    left = [other for other in names if other not in gone]
                else:
                    gone, left = names, []
                if left:
                    return Removal(names=tuple(gone))
                dependents = self.catalogue.dependents(digest, connection)
                if dependents and not force:
                    raise _in_use(reference, dependents)
                candidates = self.catalogue.files_of(digest, connection)
                self.catalogue.remove_version(digest, connection)
            freed = sweep_version(self, digest, candidates)
        return Removal(names=tuple(gone), versions=(digest,), freed=freed)

    def gc(self, *, dry_run: bool = False) -> GcReport:
        """Remove what nothing needs: versions without a name, blobs without a version, dead drafts, stale views.

        Safe while other processes pull, publish and load. See :mod:`llmasos.library.gc`.
        """
        from llmasos.library.gc import collect

        return self.freeing(lambda: collect(self, dry_run=dry_run))

    def verify(self, reference: str | Reference | None = None) -> VerifyReport:
        """Check the bytes of every blob of a version, or of the whole library and its catalogue.

        Raises:
            NotFound: the library has no ``reference``.
        """
        from llmasos.library.verify import verify_all, verify_version

        return verify_all(self) if reference is None else verify_version(self, self.digest_of(reference))

    def view(self, version: Version, *, verify: bool = True) -> Path:
        """The version as a folder of hard links to its blobs, for programs that read files.

        Treat it as read-only. With ``verify`` the SHA-256 of every file is checked first.

        Raises:
            IntegrityError: a blob is missing or damaged.
            NotFound: the version was removed meanwhile.
            Unsupported: the artefact holds archives instead of files.
        """
        from llmasos.library.views import ensure_view

        with self._unless_removed(version.digest):
            return ensure_view(self, version.manifest, verify=verify)

    # Helpers

    def freeing(self, work: Callable[[], _Result]) -> _Result:
        """Do work that frees space or notes how work ended, on a disk without a free byte too."""
        from llmasos.library.disk import Ballast

        ballast = Ballast(self.home / "locks" / "ballast")
        try:
            result = work()
        except OutOfDisk:
            if not ballast.give_up():
                raise
            result = work()
        ballast.restore()
        return result

    def _store_lock(self) -> AbstractContextManager[None]:
        from llmasos.library.locks import store_lock

        return store_lock(self.home)

    def _as_reference(self, reference: str | Reference) -> Reference | None:
        """The reference as one; ``None`` for a bare digest."""
        if isinstance(reference, Reference):
            return reference
        return None if is_digest(reference) else Reference.parse(reference)

    def _find(self, reference: str | Reference, connection: Connection | None = None) -> str | None:
        named = self._as_reference(reference)
        if named is None:
            return str(reference) if self.catalogue.exists(str(reference), connection) else None
        return self.catalogue.find(named, connection)

    @contextmanager
    def _unless_removed(self, digest: str) -> Iterator[None]:
        """A blob that is missing because another process has just removed the version is no damage."""
        try:
            yield
        except IntegrityError:
            if not self.catalogue.exists(digest):
                raise self._not_found(digest) from None
            raise

    def _not_found(self, reference: str | Reference) -> NotFound:
        from llmasos.library.suggestions import not_found

        return not_found(str(reference), self.names())


def _in_use(reference: str | Reference, dependents: Iterable[VersionRow]) -> InUse:
    users = ", ".join(row.names[0] if row.names else row.digest for row in dependents)
    return InUse(
        t("{name} is the base of {users}", name=str(reference), users=users),
        hint=t("Remove those first, or pass --force: they cannot be used until the base is pulled again."),
    )


def _matches(name: str, pattern: str) -> bool:
    repository = name.partition(":")[0]
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(repository, pattern)


def _settings_if_any() -> Settings | None:
    """The settings if any are set beside the home folder and the language; reading them costs a tenth of a second."""
    light = {"LLMASOS_HOME", "LLMASOS_LANG"}
    if (home_directory() / "config.toml").exists() or any(
        key.upper().startswith("LLMASOS_") and key.upper() not in light for key in os.environ
    ):
        from llmasos.settings import get_settings

        return get_settings()
    return None
