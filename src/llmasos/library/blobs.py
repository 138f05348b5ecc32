"""Blobs: immutable bytes named by their SHA-256.

A blob is written to a temporary file, fsynced and renamed, and the folder is fsynced, so a blob that has its name is
complete whatever happened. Nothing that is in use is ever deleted: drafts *pin* the blobs they add (a file named by
the digest in their staging folder) before the blob gets its name, and garbage collection spares pinned blobs.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

from llmasos import progress
from llmasos.errors import IntegrityError
from llmasos.i18n import t
from llmasos.library.digest import CHUNK, digest_of_file, hex_of, is_digest
from llmasos.library.disk import full_disk_as_error, require_space, sync_file, sync_folder
from llmasos.library.locks import store_lock
from llmasos.library.manifest import Descriptor

READ_ONLY = 0o444
OCTETS = "application/octet-stream"

_CHECKERS = 4  # threads that hash at a time; the disk, not the processor, limits beyond

# What file systems without hard links, or with the link count of a file exhausted, answer.
_NO_LINKS = frozenset(
    {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EACCES}
)


class BlobError(IntegrityError):
    """A blob is missing, has another size or other bytes; ``trouble`` says which."""

    def __init__(self, trouble: Literal["missing", "size", "damaged"], message: str) -> None:
        hint = t(
            "Pull the artefact again (`llmasos pull NAME --force`); run `llmasos verify` to see what else is damaged."
        )
        super().__init__(message, hint=hint)
        self.trouble = trouble


class BlobStore:
    """The blobs of a library, for reading. To add blobs open a draft and use ``draft.blobs``."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.root = home / "blobs" / "sha256"

    def path(self, digest: str) -> Path:
        """Where the blob lies or would lie."""
        return self.root / hex_of(digest)

    def has(self, digest: str) -> bool:
        """Whether the blob is here."""
        return self.path(digest).is_file()

    def size(self, digest: str) -> int:
        """The blob's bytes.

        Raises:
            BlobError: it is not here.
        """
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError as error:
            raise missing(digest) from error

    def open(self, digest: str) -> BinaryIO:
        """Open the blob for reading.

        Raises:
            BlobError: it is not here.
        """
        try:
            return self.path(digest).open("rb")
        except FileNotFoundError as error:
            raise missing(digest) from error

    def read(self, digest: str) -> bytes:
        """The content of a small blob, checked against its digest.

        Raises:
            BlobError: it is not here or its bytes have changed.
        """
        with self.open(digest) as file:
            data = file.read()
        if hashlib.sha256(data).hexdigest() != hex_of(digest):
            raise corrupted(digest, self.path(digest))
        return data

    def verify(self, digest: str, *, size: int | None = None, advance: Callable[[int], None] | None = None) -> None:
        """Check the blob's size, if given, and its SHA-256. ``advance`` is told the bytes that were read.

        Raises:
            BlobError: it is missing or differs.
        """
        actual = self.size(digest)
        if size is not None and actual != size:
            raise wrong_size(digest, actual, size)
        try:
            found = digest_of_file(self.path(digest), advance)
        except FileNotFoundError as error:
            raise missing(digest) from error
        if found != digest:
            raise corrupted(digest, self.path(digest))

    def verify_all(self, sizes: Mapping[str, int], label: str) -> dict[str, BlobError]:
        """Check many blobs, several at a time, with progress under ``label``; returns what is wrong by digest.

        Args:
            sizes: bytes that each blob should have, by digest.
        """
        problems: dict[str, BlobError] = {}
        with progress.current().task(label, total=sum(sizes.values()), unit="B") as task:

            def check(digest: str) -> None:
                try:
                    self.verify(digest, size=sizes[digest], advance=task.advance)
                except BlobError as error:
                    problems[digest] = error

            with ThreadPoolExecutor(max_workers=min(_CHECKERS, os.cpu_count() or 1)) as pool:
                # The largest first, so that no thread is left alone with it at the end.
                for _ in pool.map(check, sorted(sizes, key=lambda digest: -sizes[digest])):
                    pass
        return problems

    def digests(self) -> Iterator[str]:
        """Every blob that is here, in no order."""
        if self.root.is_dir():
            with os.scandir(self.root) as entries:
                for entry in entries:
                    if is_digest(digest := f"sha256:{entry.name}"):
                        yield digest


class PinnedBlobStore(BlobStore):
    """The blobs of a library, for the draft that adds to them. Safe for several threads of the draft.

    Args:
        home: the library's folder.
        staging: the draft's folder; its temporary files and pins live there and go with it.
        reserve: bytes that must stay free on the disk.
    """

    def __init__(self, home: Path, staging: Path, *, reserve: int = 0) -> None:
        super().__init__(home)
        self._temporary = staging / ".tmp"
        self._pins = staging / ".pins"
        self._reserve = reserve

    def pin(self, digest: str) -> None:
        """Keep garbage collection away from a blob, which need not be here yet, until the draft closes."""
        with store_lock(self.home):
            self._pin(digest)

    def _pin(self, digest: str) -> None:
        with full_disk_as_error(self.home):
            self._pins.mkdir(exist_ok=True)
            (self._pins / hex_of(digest)).touch()

    @contextmanager
    def open_writer(self, *, size: int | None = None) -> Iterator[BlobWriter]:
        """A writer that hashes what passes through it. The blob exists after ``commit()``; without it nothing stays.

        Args:
            size: the expected number of bytes, to check the free space before the first.

        Raises:
            OutOfDisk: the bytes do not fit.
        """
        if size is not None:
            require_space(self.home, size, reserve=self._reserve)
        with full_disk_as_error(self.home, size or 0):
            self._temporary.mkdir(exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._temporary)
            path = Path(name)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    yield BlobWriter(self, path, file)
            finally:
                path.unlink(missing_ok=True)

    def add_stream(
        self, chunks: Iterable[bytes], *, digest: str | None = None, size: int | None = None, media_type: str = OCTETS
    ) -> Descriptor:
        """Store the bytes of ``chunks``.

        Raises:
            IntegrityError: they do not have the given ``digest`` or ``size``.
            OutOfDisk: they do not fit.
        """
        with self.open_writer(size=size) as writer:
            for chunk in chunks:
                writer.write(chunk)
            return writer.commit(digest=digest, size=size, media_type=media_type)

    def add_bytes(self, data: bytes, *, digest: str | None = None, media_type: str = OCTETS) -> Descriptor:
        """Store some bytes; errors as :meth:`add_stream`."""
        return self.add_stream([data], digest=digest, size=len(data), media_type=media_type)

    def add_file(
        self, source: Path, *, move: bool = False, digest: str | None = None, media_type: str = OCTETS
    ) -> Descriptor:
        """Store a file's bytes. With ``move`` the file itself becomes the blob where it lies on the same disk.

        A file that is moved must be the caller's own: nobody may hold it open for writing.

        Raises:
            IntegrityError: it does not have the given ``digest``.
            OutOfDisk: it does not fit.
        """
        if move and not source.is_symlink() and source.stat().st_dev == self._device():
            with full_disk_as_error(self.home):
                sync_file(source)
                actual = digest_of_file(source)
                size = source.stat().st_size
                _check_expected(actual, size, digest, None)
                self._place(source, actual, size)
                source.unlink(missing_ok=True)
            return Descriptor(media_type, actual, size)
        with source.open("rb") as file:
            added = self.add_stream(
                iter(lambda: file.read(CHUNK), b""),
                digest=digest,
                size=os.fstat(file.fileno()).st_size,
                media_type=media_type,
            )
        if move:
            source.unlink()
        return added

    def _make_root(self) -> None:
        if not self.root.is_dir():
            self.root.mkdir(parents=True, exist_ok=True)
            sync_folder(self.root.parent)
            sync_folder(self.home)

    def _device(self) -> int:
        self._make_root()
        return self.root.stat().st_dev

    def _place(self, temporary: Path, digest: str, size: int) -> None:
        """Give a complete, synced file its name as a blob, or use the blob that has the name if its bytes are right."""
        target = self.path(digest)
        with store_lock(self.home):
            self._pin(digest)
            self._make_root()
            if not target.exists():
                self._rename(temporary, target)
                return
        # The blob is pinned, so it stays while its bytes are checked outside the lock.
        if target.stat().st_size == size and digest_of_file(target) == digest:
            return
        with store_lock(self.home):
            self._rename(temporary, target)

    def _rename(self, temporary: Path, target: Path) -> None:
        temporary.chmod(READ_ONLY)
        temporary.replace(target)
        sync_folder(target.parent)


class BlobWriter:
    """Receives the bytes of one blob; made by :meth:`PinnedBlobStore.open_writer`."""

    def __init__(self, store: PinnedBlobStore, path: Path, file: BinaryIO) -> None:
        self._store = store
        self._path = path
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    @property
    def digest(self) -> str:
        """The digest of what was written so far."""
        return "sha256:" + self._hash.hexdigest()

    def commit(self, *, digest: str | None = None, size: int | None = None, media_type: str = OCTETS) -> Descriptor:
        """Make the bytes durable and give them their name.

        Raises:
            IntegrityError: they do not have the expected ``digest`` or ``size``; nothing is stored.
        """
        _check_expected(self.digest, self.size, digest, size)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._store._place(self._path, self.digest, self.size)
        return Descriptor(media_type, self.digest, self.size)


def _check_expected(actual: str, actual_size: int, digest: str | None, size: int | None) -> None:
    if size is not None and actual_size != size:
        raise IntegrityError(
            t("received {actual} bytes instead of {size}", actual=actual_size, size=size),
            hint=t("The transfer was cut short or the file changed meanwhile; try again."),
        )
    if digest is not None and actual != digest:
        raise IntegrityError(
            t("the bytes have the digest {actual} instead of {digest}", actual=actual, digest=digest),
            hint=t("The file was damaged on the way or replaced at its source; try again, or pin another version."),
        )


def try_link(source: Path, target: Path) -> bool:
    """Make ``target`` a hard link to ``source``; ``False`` where the file system has none, or no more for this file.

    Raises:
        FileNotFoundError: there is no ``source``.
    """
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return False
    return True


def copy_blob(source: Path, target: Path) -> None:
    """Copy a blob's file; the copy is read-only too."""
    with full_disk_as_error(target.parent, source.stat().st_size):
        shutil.copyfile(source, target)
    target.chmod(READ_ONLY)


def make_deletable(path: Path) -> None:
    """Windows refuses to delete read-only files."""
    if os.name == "nt":
        path.chmod(stat.S_IWRITE)


def corrupted(digest: str, path: Path) -> BlobError:
    """The error for a blob whose bytes have changed."""
    return BlobError(
        "damaged", t("blob {digest} is damaged: its bytes have another digest ({path})", digest=digest, path=path)
    )


def wrong_size(digest: str, actual: int, expected: int) -> BlobError:
    """The error for a blob whose size is not what the manifest says."""
    return BlobError(
        "size",
        t("blob {digest} has {actual} bytes instead of {size}", digest=digest, actual=actual, size=expected),
    )


def missing(digest: str) -> BlobError:
    """The error for a blob that is not here."""
    return BlobError("missing", t("blob {digest} is missing from the library", digest=digest))
