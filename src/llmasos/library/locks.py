"""Locks between processes and threads. The operating system frees them when their holder dies, also by kill -9.

Two kinds are used, and never a third while either is held:

- the **store lock** (:func:`store_lock`) guards every moment in which blobs are put in place, pinned, counted or
  deleted. It is held for milliseconds: no hashing, copying or downloading happens under it.
- the **draft lock** (:class:`DraftLock`) is held as long as a draft lives; garbage collection takes a staging folder
  whose lock is free for dead. It is only ever acquired under the store lock, so nobody can lock a folder that is
  being removed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos.errors import Unavailable
from llmasos.i18n import t

if TYPE_CHECKING:
    from filelock import FileLock

STORE_LOCK_TIMEOUT = 120.0  # seconds; garbage collection of a large library takes a few


@contextmanager
def file_lock(path: Path, *, timeout: float, waiting_for: str) -> Iterator[None]:
    """Hold an exclusive lock on ``path``; not reentrant, so threads of one process exclude each other too.

    Raises:
        Unavailable: another holder did not let go within ``timeout`` seconds.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=timeout, thread_local=False, poll_interval=0.01)
    try:
        lock.acquire()
    except Timeout as error:
        raise Unavailable(
            t(
                "waited {seconds:.0f} s for another process: {what} ({path})",
                seconds=timeout,
                what=waiting_for,
                path=path,
            ),
            hint=t("Wait for the other llmasos process to finish, or end it, and try again."),
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def store_lock(home: Path, *, timeout: float = STORE_LOCK_TIMEOUT) -> Iterator[None]:
    """Hold the lock of the blob store of this home.

    Raises:
        Unavailable: another process held it all the time.
    """
    with file_lock(home / "locks" / "store.lock", timeout=timeout, waiting_for=t("the library is in use")):
        yield


class DraftLock:
    """The sign of life of a draft: a lock on a file in its staging folder."""

    def __init__(self, lock: FileLock) -> None:
        self._lock = lock

    @classmethod
    def try_acquire(cls, folder: Path) -> DraftLock | None:
        """Lock ``folder``, or return ``None`` if a living process holds it. Call it under the store lock."""
        from filelock import FileLock, Timeout

        lock = FileLock(folder / ".lock", timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            return None
        return cls(lock)

    def release(self) -> None:
        """Let go."""
        self._lock.release()


def wait_until(deadline: float, pause: float = 0.1) -> bool:
    """Sleep a little; ``False`` once ``deadline`` (``time.monotonic``) has passed."""
    if time.monotonic() >= deadline:
        return False
    time.sleep(pause)
    return True
