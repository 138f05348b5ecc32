"""Files that people send to the Studio: they lie below the home folder until somebody removes them.

A file is written under a temporary name while it comes, so that what is broken off leaves nothing, and takes its name
when it is whole. The servers of the APIs keep files of their own in ``uploads``; ours are in a folder beside those.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path

from llmasos.data.sources.scan import ending_of
from llmasos.errors import AlreadyExists, InvalidRequest, NotFound, RequestTooLarge
from llmasos.i18n import t
from llmasos.library.disk import full_disk_as_error, require_space, sync_file, sync_folder
from llmasos.library.store import Library
from llmasos.settings import get_settings
from llmasos.studio.file_names import numbered, safe_name
from llmasos.units import format_bytes

_BUFFER = 4 * 2**20
_SPACE_EVERY = 64 * 2**20
"""Bytes after which the free space is looked at again: others write to the disk too."""
_FORGOTTEN_SECONDS = 24 * 3600.0
_PARTIAL = ".partial"
_MOST_NUMBERS = 10_000


def folder(library: Library) -> Path:
    """Where the files lie."""
    return library.home / "uploads" / "data"


def files(library: Library) -> list[Path]:
    """The files that are here, the newest first."""
    try:
        found = [path for path in folder(library).iterdir() if path.is_file() and not path.name.startswith(".")]
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda path: (-path.stat().st_mtime, path.name))


def check(library: Library, name: str, size: int) -> str:
    """The name that a file of this name and size would get, before a number.

    Raises:
        InvalidRequest: the name is none, or not that of a file of data.
        RequestTooLarge: the file is larger than the setting ``upload_limit`` allows.
        OutOfDisk: it does not fit.
    """
    name = safe_name(name)
    _check_size(size)
    require_space(library.home, size, reserve=library.disk_reserve)
    return name


async def receive(library: Library, name: str, chunks: AsyncIterator[bytes], *, declared: int = 0) -> Path:
    """Write what comes as a file; a name that is taken gets a number.

    Args:
        name: as the sender says it.
        declared: how many bytes the sender says will come.

    Raises: as :func:`check`, for the bytes that really come too; what ``chunks`` raises passes through.
    """
    wanted = await asyncio.to_thread(_prepare, library, name, declared)
    place = folder(library)
    partial = place / f".{secrets.token_hex(8)}{_PARTIAL}"
    try:
        with full_disk_as_error(library.home):
            await _write(library, partial, chunks)
            return await asyncio.to_thread(_publish, partial, wanted)
    finally:
        partial.unlink(missing_ok=True)


def remove(library: Library, name: str) -> None:
    """Remove a file.

    Raises:
        NotFound: there is none of this name.
    """
    path = folder(library) / name
    if name != path.name or path not in files(library):
        raise NotFound(t("there is no file {path}", path=name))
    path.unlink()


def _check_size(size: int) -> None:
    limit = get_settings().upload_limit
    if size > limit:
        raise RequestTooLarge(
            t("the file is larger than {limit}", limit=format_bytes(limit)),
            hint=t("Raise the setting upload_limit, or put the file on this machine and give its path."),
        )


def _prepare(library: Library, name: str, declared: int) -> str:
    """Check what is to come, make the folder, and remove what earlier, interrupted writing left."""
    wanted = check(library, name, declared)
    place = folder(library)
    with full_disk_as_error(library.home):
        place.mkdir(parents=True, exist_ok=True)
    oldest = time.time() - _FORGOTTEN_SECONDS
    for path in place.glob(f".*{_PARTIAL}"):
        with contextlib.suppress(FileNotFoundError):  # another process removes it too
            if path.stat().st_mtime < oldest:
                path.unlink()
    return wanted


async def _write(library: Library, path: Path, chunks: AsyncIterator[bytes]) -> None:
    size, next_look = 0, _SPACE_EVERY
    with path.open("xb") as file:
        buffer = bytearray()
        async for chunk in chunks:
            size += len(chunk)
            _check_size(size)
            buffer += chunk
            if len(buffer) >= _BUFFER:
                await asyncio.to_thread(file.write, bytes(buffer))
                buffer.clear()
            if size >= next_look:
                next_look = size + _SPACE_EVERY
                require_space(library.home, 0, reserve=library.disk_reserve)
        await asyncio.to_thread(file.write, bytes(buffer))
    if size == 0:
        raise InvalidRequest(t("the file is empty"), hint=t("Choose a file with data in it."))


def _publish(partial: Path, wanted: str) -> Path:
    """Give the file its name, and a number if the name is taken."""
    sync_file(partial)
    for number in range(1, _MOST_NUMBERS):
        target = partial.with_name(numbered(wanted, number))
        if _give_name(partial, target):
            sync_folder(target.parent)
            return target
    raise AlreadyExists(t("{name} is taken", name=wanted), hint=t("Choose another name."))


def _give_name(partial: Path, target: Path) -> bool:
    """Give the file a name that nothing has; ``False`` if something has it."""
    assert ending_of(target.name) is not None
    try:
        os.link(partial, target)  # fails if the name is taken, unlike renaming
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        try:
            target.open("xb").close()
        except FileExistsError:
            return False
        partial.replace(target)
    return True
