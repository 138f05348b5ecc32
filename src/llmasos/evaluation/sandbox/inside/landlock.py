"""Landlock: this process may read the interpreter and its libraries, and no other file; it may write none.

Source: https://docs.kernel.org/userspace-api/landlock.html.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable

from .system import LANDLOCK_ADD, LANDLOCK_CREATE, LANDLOCK_RESTRICT, call

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIRECTORY = 1, 2, 4, 8
_OLDEST = 3
"""Earlier versions (Linux before 6.2) cannot forbid that files are truncated."""
_ACCESSES = {3: 15, 4: 15, 5: 16}
"""How many kinds of access to files each version knows; later ones know as many as version 5."""
_NETWORK = 0b11
_SCOPES = 0b11


class _Rules(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _Path(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def version() -> int:
    """Version of Landlock in this kernel.

    Raises:
        OSError: it has none, or it is switched off.
    """
    return call(LANDLOCK_CREATE, None, 0, 1)


def restrict(readable: Iterable[str], devices: Iterable[str]) -> None:
    """Allow reading below some paths, reading and writing of some devices, and nothing else; needs ``no_new_privs``.

    Raises:
        OSError: the kernel has no Landlock, or one that leaves files open to truncation.
    """
    known = version()
    if known < _OLDEST:
        raise OSError(
            errno.ENOSYS, f"Landlock of this kernel is version {known}, which cannot forbid truncation; Linux 6.2 can"
        )
    rules = _Rules((1 << _ACCESSES[min(known, 5)]) - 1, _NETWORK if known >= 4 else 0, _SCOPES if known >= 6 else 0)
    size = 24 if known >= 6 else 16 if known >= 4 else 8
    ruleset = call(LANDLOCK_CREATE, ctypes.byref(rules), size, 0)
    for path in readable:
        accesses = _READ_FILE | _EXECUTE | (_READ_DIRECTORY if os.path.isdir(path) else 0)  # noqa: PTH112
        _allow(ruleset, path, accesses)
    for path in devices:
        _allow(ruleset, path, _READ_FILE | _WRITE_FILE)
    call(LANDLOCK_RESTRICT, ruleset, 0)
    os.close(ruleset)


def _allow(ruleset: int, path: str, accesses: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    call(LANDLOCK_ADD, ruleset, 1, ctypes.byref(_Path(accesses, place)), 0)
    os.close(place)
