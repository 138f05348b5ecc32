"""Which process works on a run, and whether it still lives.

A process id alone says little: ids are used again, and mean nothing on another machine, in another container or after
a reboot. So a worker is known by the place in which its id counts, the id, and when the process began.
"""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

HEARTBEAT = 5.0  # seconds between two signs of life
LOST_AFTER = timedelta(seconds=60)  # silence after which a worker in another place is taken for gone


@dataclass(frozen=True)
class Process:
    """A process on some machine.

    Attributes:
        host: name of the machine, for people.
        place: where the id counts: boot and namespace of ids on Linux, the machine's name elsewhere.
        pid: its id there.
        began: when it began, in a form that only equality is asked of.
    """

    host: str
    place: str
    pid: int
    began: str

    def is_here(self) -> bool:
        """Whether it runs, or ran, where this process can see it."""
        return self.place == place()

    def lives(self, heartbeat: datetime | None, now: datetime) -> bool:
        """Whether it still works: seen directly from the same place, else by its last sign of life."""
        if self.is_here():
            return _began(self.pid) == self.began
        return heartbeat is not None and now - heartbeat < LOST_AFTER


def this_process() -> Process:
    """The process that asks."""
    began = _began(os.getpid())
    assert began is not None
    return Process(host_name(), place(), os.getpid(), began)


@cache
def host_name() -> str:
    """The machine's name."""
    return socket.gethostname()


def place() -> str:
    """Where ids of processes mean the same as here."""
    if sys.platform != "linux":
        return host_name()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"


def _began(pid: int) -> str | None:
    """When a process began; ``None`` if there is none, or only its exit status is left.

    On Linux in clock ticks since boot, which unlike the time of day nobody sets.
    """
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in ("Z", "X") else fields[19]
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None
