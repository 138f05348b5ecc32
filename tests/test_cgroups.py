from __future__ import annotations

from pathlib import Path

import pytest

from llmasos import cgroups


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")


def test_version_2_takes_the_tightest_limit_on_the_way_to_the_root(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/system.slice/job.scope\n",
            "sys/fs/cgroup/system.slice/job.scope/cpu.max": "400000 100000\n",
            "sys/fs/cgroup/system.slice/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/system.slice/job.scope/memory.max": "max\n",
            "sys/fs/cgroup/system.slice/memory.max": "1000000\n",
            "sys/fs/cgroup/system.slice/memory.current": "400000\n",
            "sys/fs/cgroup/system.slice/memory.stat": "anon 1\ninactive_file 100000\n",
        },
    )
    assert cgroups.cpu_quota(tmp_path) == 1.5
    assert cgroups.memory_limit(tmp_path) == (1_000_000, 300_000), "page cache that can go is not use"


def test_a_container_whose_path_is_the_hosts(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/docker/0123456789ab\n",
            "sys/fs/cgroup/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/memory.max": "2000000\n",
            "sys/fs/cgroup/memory.current": "5\n",
        },
    )
    assert cgroups.cpu_quota(tmp_path) == 2.0
    assert cgroups.memory_limit(tmp_path) == (2_000_000, 5)


def test_version_1(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/job\n1:cpu,cpuacct:/job\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "4096000\n",
            "sys/fs/cgroup/memory/job/memory.usage_in_bytes": "96000\n",
            "sys/fs/cgroup/memory/job/memory.stat": "total_inactive_file 6000\n",
        },
    )
    assert cgroups.cpu_quota(tmp_path) == 0.5
    assert cgroups.memory_limit(tmp_path) == (4_096_000, 90_000)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": "0::/\n"},
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n", "sys/fs/cgroup/memory.max": "max\n"},
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "garbage\n", "sys/fs/cgroup/memory.max": "\n"},
        {
            "proc/self/cgroup": "1:cpu:/\n2:memory:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
        {"proc/self/cgroup": "0::/../../outside\n", "sys/outside/cpu.max": "1 1\n"},
    ],
    ids=["no proc", "no files", "max", "garbage", "version 1 unlimited", "path outside"],
)
def test_no_limit(tmp_path: Path, files: dict[str, str]) -> None:
    write(tmp_path, files)
    assert cgroups.cpu_quota(tmp_path) is None
    assert cgroups.memory_limit(tmp_path) is None
