"""Calls of the kernel that Python has no function for, and what they need."""

from __future__ import annotations

import ctypes
import os
import platform

ARCHITECTURE = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}.get(platform.machine())
"""The architecture if the tables here have it, else ``None``."""

_libc = ctypes.CDLL(None, use_errno=True)

PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 24, 22, 38
SIGKILL = 9

MOUNT_SETATTR, LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 442, 444, 445, 446
"""Numbers of system calls, the same on both architectures."""
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
CAPSET = {"x86_64": 126, "aarch64": 91}


def call(number: int, *arguments: object) -> int:
    """A system call by its number; integers are passed in full width.

    Raises:
        OSError: it failed.
    """
    passed = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *passed), f"system call {number}")


def prctl(option: int, *arguments: object) -> int:
    """``prctl(2)``. Raises ``OSError``."""
    passed = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in arguments]
    passed += [ctypes.c_ulong(0)] * (4 - len(passed))
    return _checked(_libc.prctl(ctypes.c_int(option), *passed), f"prctl {option}")


def unshare(flags: int) -> None:
    """``unshare(2)``. Raises ``OSError``."""
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """``mount(2)``. Raises ``OSError``."""
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    result = _libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3])
    _checked(result, f"mount {target}")


def unmount(target: str, flags: int) -> None:
    """``umount2(2)``. Raises ``OSError``."""
    _checked(_libc.umount2(os.fsencode(target), ctypes.c_int(flags)), f"umount {target}")


def set_host_name(name: str) -> None:
    """``sethostname(2)``. Raises ``OSError``."""
    data = name.encode()
    _checked(_libc.sethostname(data, ctypes.c_size_t(len(data))), "sethostname")


def die_with_parent(parent: int) -> None:
    """Be killed when the thread that started this process ends. Exits at once if it has ended already.

    Args:
        parent: number of the process that started this one.
    """
    prctl(PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def drop_privileges() -> None:
    """Give up all capabilities, and never get new ones."""
    assert ARCHITECTURE is not None
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:  # a capability that this kernel does not have, or none to drop any
            break
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    nothing = (ctypes.c_uint32 * 6)()
    call(CAPSET[ARCHITECTURE], ctypes.byref(header), ctypes.byref(nothing))
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
