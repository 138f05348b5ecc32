"""A PostgreSQL server of our own for a test, in a temporary folder and reached by a Unix socket."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import pytest


@contextmanager
def running() -> Iterator[str]:
    """Its URL; the test is skipped where PostgreSQL is not installed."""
    pytest.importorskip("psycopg")
    candidates = [shutil.which("initdb"), *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")))]
    initdb = next((path for path in candidates if path and Path(path).exists()), None)
    as_root = os.geteuid() == 0  # PostgreSQL refuses to run as root
    if initdb is None or (as_root and shutil.which("runuser") is None):
        pytest.skip("PostgreSQL is not installed")
    command = ["runuser", "-u", "postgres", "--"] if as_root else []
    folder = Path(mkdtemp())  # not under pytest's own folder, which other users may not enter
    if as_root:
        shutil.chown(folder, "postgres")
    control = [*command, str(Path(initdb).parent / "pg_ctl"), "-D", str(folder / "data"), "-l", str(folder / "log")]
    try:
        subprocess.run(
            [*command, initdb, "-D", str(folder / "data"), "-A", "trust", "-U", "llmasos", "--no-sync"],
            check=True,
            capture_output=True,
        )
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        subprocess.run([*control, "-w", "-o", options, "start"], check=True, stdout=subprocess.DEVNULL)
        try:
            yield f"postgresql+psycopg://llmasos@/postgres?host={folder}"
        finally:
            subprocess.run([*control, "-w", "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL)
    finally:
        shutil.rmtree(folder)
