"""Free space, and writes that survive a crash."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmasos.errors import OutOfDisk
from llmasos.i18n import t
from llmasos.units import format_bytes

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def free_bytes(directory: Path) -> int:
    """Free bytes for this user on the file system of ``directory``, which need not exist yet."""
    while not directory.exists():
        directory = directory.parent
    return shutil.disk_usage(directory).free


def require_space(directory: Path, needed: int, *, reserve: int = 0) -> None:
    """Check that ``needed`` bytes fit and ``reserve`` bytes stay free after them.

    Raises:
        OutOfDisk: they do not.
    """
    free = free_bytes(directory)
    if needed + reserve > free:
        raise OutOfDisk(
            t(
                "{needed} are needed in {directory} and {reserve} must stay free, but only {free} are free",
                needed=format_bytes(needed),
                reserve=format_bytes(reserve),
                directory=directory,
                free=format_bytes(free),
            ),
            needed=needed,
            free=free,
            hint=_full_hint(),
        )


@contextmanager
def full_disk_as_error(directory: Path, needed: int = 0) -> Iterator[None]:
    """Turn "no space left" of the operating system inside the block into :class:`OutOfDisk`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        free = free_bytes(directory)
        raise OutOfDisk(
            t("the disk of {directory} is full ({free} free)", directory=directory, free=format_bytes(free)),
            needed=needed,
            free=free,
            hint=_full_hint(),
        ) from error


def _full_hint() -> str:
    return t("Remove models (`llmasos rm NAME`, then `llmasos gc`), or move the library: LLMASOS_HOME=/other/disk.")


def sync_folder(folder: Path) -> None:
    """Make names created in ``folder`` durable; does nothing where folders cannot be opened (Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the content of a file durable."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


class Ballast:
    """A file that only takes up space, so that on a full disk there is some to give up.

    Removing things writes to the catalogue first; without this, a disk without a free byte could not be freed.
    """

    SIZE = 1 << 19

    def __init__(self, path: Path) -> None:
        self._path = path

    def restore(self) -> None:
        """Write the file unless it is there or the disk is nearly full."""
        if self._path.exists() or free_bytes(self._path.parent) < 4 * self.SIZE:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(f".{self._path.name}-{secrets.token_hex(4)}")
        try:
            temporary.write_bytes(os.urandom(self.SIZE))  # random, since some file systems store zeros for nothing
            temporary.replace(self._path)
        finally:
            temporary.unlink(missing_ok=True)

    def give_up(self) -> bool:
        """Free the space; ``False`` if there is none to free."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True


DEAD = ".dead-"  # folders that are being deleted


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of ``path`` at the end of the block: the file appears whole or not at
    all, and stays after a crash of the machine.

    Raises:
        OutOfDisk: it does not fit.
    """
    partial = path.with_name(f".{path.name}-{secrets.token_hex(4)}.partial")
    try:
        with full_disk_as_error(path.parent):
            yield partial
            sync_file(partial)
            partial.replace(path)
            sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_file(path: Path, data: bytes) -> None:
    """Write a file as :func:`replacing` does."""
    with replacing(path) as partial:
        partial.write_bytes(data)


def bury(folder: Path) -> Path:
    """Rename a folder in one step so that nobody takes it for alive; delete the result with :func:`remove_tree`."""
    dead = folder.with_name(DEAD + secrets.token_hex(8))
    folder.rename(dead)
    return dead


def remove_tree(folder: Path) -> None:
    """Delete a folder with all it holds; another process may be deleting it too."""

    def ignore_missing(_function: object, _path: str, error: BaseException) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    if sys.version_info >= (3, 12):
        shutil.rmtree(folder, onexc=ignore_missing)
    else:
        shutil.rmtree(folder, onerror=lambda function, path, info: ignore_missing(function, path, info[1]))
