"""Limits that a container or a batch system puts on this process: Linux control groups, version 1 and 2.

The tightest limit on the way from the process's own group to the root holds.
Format: https://docs.kernel.org/admin-guide/cgroup-v2.html (``cpu.max``, ``memory.max``) and
https://docs.kernel.org/admin-guide/cgroup-v1/ (``cpu.cfs_quota_us``, ``memory.limit_in_bytes``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

#: Version 1 writes "no limit" as the largest multiple of a page below 2^63.
_NO_LIMIT = 1 << 62


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _groups(controller: str, root: Path) -> Iterator[tuple[Path, int]]:
    """Folders of this process's group and its parents, with the version (1 or 2) of each hierarchy."""
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            bases = [(root / "sys/fs/cgroup", 2), (root / "sys/fs/cgroup/unified", 2)]
        elif controller in controllers.split(","):
            bases = [(root / "sys/fs/cgroup" / controller, 1), (root / "sys/fs/cgroup" / controllers, 1)]
        else:
            continue
        # Inside a container the path is often the host's; then only the mount point itself exists here.
        inner = PurePosixPath(path.lstrip("/"))
        for base, version in bases:
            for folder in (inner, *inner.parents):
                if ".." not in folder.parts and (base / folder).is_dir():
                    yield base / folder, version


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Processors' worth of time that may be used, for example 1.5; ``None`` without a limit."""
    limits = []
    for folder, version in _groups("cpu", root):
        if version == 2:
            quota, _, period = (_read(folder / "cpu.max") or "max").partition(" ")
        else:
            quota = _read(folder / "cpu.cfs_quota_us") or "-1"
            period = _read(folder / "cpu.cfs_period_us") or ""
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def memory_limit(root: Path = Path("/")) -> tuple[int, int] | None:
    """The limit in bytes and what is used of it (page cache that can be dropped excluded); ``None`` without one."""
    found = []
    for folder, version in _groups("memory", root):
        limit = _read(folder / ("memory.max" if version == 2 else "memory.limit_in_bytes")) or "max"
        used = _read(folder / ("memory.current" if version == 2 else "memory.usage_in_bytes")) or "0"
        if limit.isdigit() and used.isdigit() and int(limit) < _NO_LIMIT:
            cache_key = "inactive_file" if version == 2 else "total_inactive_file"
            found.append((int(limit), max(int(used) - _statistic(folder / "memory.stat", cache_key), 0)))
    return min(found, key=lambda item: item[0] - item[1], default=None)


def _statistic(path: Path, key: str) -> int:
    for line in (_read(path) or "").splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.isdigit():
            return int(value)
    return 0
