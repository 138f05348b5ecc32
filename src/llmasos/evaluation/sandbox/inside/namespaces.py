"""A root file system, processes and a network of its own: namespaces of Linux, without any helper program."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence

from . import system

_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
_NEWUSER, _NEWPID, _NEWNET = 0x10000000, 0x20000000, 0x40000000
_SPACES = _NEWNS | _NEWCGROUP | _NEWUTS | _NEWIPC | _NEWPID | _NEWNET

_NOSUID, _NODEV, _BIND, _RECURSIVE, _PRIVATE = 0x2, 0x4, 0x1000, 0x4000, 0x40000
_READ_ONLY_ATTRIBUTES = 0x1 | 0x2 | 0x4  # read only, no set-user-id, no devices
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_DETACH = 2
_FILES = 10_000
"""Files that the temporary folder can hold."""

_NOBODY = 65534

DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


def enter() -> bool:
    """Move to namespaces of its own; processes that start from now on are in the new process namespace.

    Returns:
        whether that needed a user namespace. Root does without one, so that it can become another user.

    Raises:
        OSError: this machine does not allow it.
    """
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        try:
            system.unshare(_SPACES)
        except PermissionError:  # root of a container
            pass
        else:
            return False
    system.unshare(_NEWUSER | _SPACES)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")
    return True


def _write(path: str, text: str) -> None:
    place = os.open(path, os.O_WRONLY)
    try:
        os.write(place, text.encode())
    finally:
        os.close(place)


def change_root(point: str, readable: Sequence[str], temporary_bytes: int) -> None:
    """Make a new root of an empty file system, the readable paths (read-only), four devices and ``/tmp``; go there.

    Args:
        point: an empty folder to build it on.
        readable: paths outside; each stands at the same place inside.
        temporary_bytes: size of ``/tmp``, which lives in memory and is gone with the namespace.

    Raises:
        OSError: the kernel is older than 5.12, or refuses.
    """
    assert system.ARCHITECTURE is not None
    system.mount("none", "/", None, _RECURSIVE | _PRIVATE)
    system.mount("tmpfs", point, "tmpfs", _NOSUID | _NODEV, "size=1m,mode=755")
    os.mkdir(point + "/tmp")  # noqa: PTH102, S108 - that of the sandbox
    options = f"size={temporary_bytes},nr_inodes={_FILES},mode=1777"
    system.mount("tmpfs", point + "/tmp", "tmpfs", _NOSUID | _NODEV, options)  # noqa: S108
    for path in readable:  # after /tmp, for a Python may lie there
        inside = point + path
        if os.path.isdir(path):  # noqa: PTH112 - pathlib is slow to import
            os.makedirs(inside, exist_ok=True)  # noqa: PTH103
        else:
            os.makedirs(os.path.dirname(inside), exist_ok=True)  # noqa: PTH103, PTH120
            os.close(os.open(inside, os.O_CREAT | os.O_WRONLY, 0o644))
        system.mount(path, inside, None, _BIND | _RECURSIVE)
        _make_read_only(inside, _AT_RECURSIVE)
    os.mkdir(point + "/dev")  # noqa: PTH102
    for path in DEVICES:
        os.close(os.open(point + path, os.O_CREAT | os.O_WRONLY, 0o644))
        system.mount(path, point + path, None, _BIND)
    _make_read_only(point, 0)
    os.chdir(point)
    system.call(system.PIVOT_ROOT[system.ARCHITECTURE], ctypes.c_char_p(b"."), ctypes.c_char_p(b"."))
    system.unmount(".", _DETACH)  # the old root, which lies on the new one
    os.chdir("/tmp")  # noqa: S108 - that of the sandbox
    system.set_host_name("sandbox")


def _make_read_only(path: str, flags: int) -> None:
    attributes = (ctypes.c_uint64 * 4)(_READ_ONLY_ATTRIBUTES, 0, 0, 0)
    system.call(
        system.MOUNT_SETATTR, _AT_FDCWD, ctypes.c_char_p(os.fsencode(path)), flags, ctypes.byref(attributes), 32
    )


def become_nobody(own: int) -> bool:
    """Leave root for a user that nothing else runs as.

    Args:
        own: number of such a user.

    Returns:
        whether there was one; else this process is the system's user ``nobody``, as others may be.

    Raises:
        OSError: there is neither.
    """
    os.setgroups([])
    try:
        os.setresgid(own, own, own)
        os.setresuid(own, own, own)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a number that this container does not have
            raise
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        return False
    return True
