"""A disk that is really full: a small file system of its own, mounted where no other process sees it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import os
import sys
from pathlib import Path

from llmasos.errors import OutOfDisk
from llmasos.library.metadata import Metadata
from llmasos.library.reference import Reference
from llmasos.library.store import Library

home = Path(sys.argv[1])
library = Library(home)
with library.draft() as draft:
    draft.add_bytes("x", b"small")
    draft.publish(Reference.parse("before"), Metadata())


def expect_full(action):
    try:
        action()
    except OutOfDisk as error:
        assert error.hint and "full" in error.message or "needed" in error.message, error.message
    else:
        raise SystemExit("the disk did not fill up")


def stream():
    with library.draft() as draft:
        draft.blobs.add_stream(os.urandom(1 << 16) for _ in range(400))


def announced():
    with library.draft() as draft:
        draft.blobs.add_stream([b""], size=1 << 30)


def many_versions():
    with library.draft() as draft:
        for number in range(10_000):
            draft._files.clear()
            draft.add_bytes("x", b"%d" % number + os.urandom(20_000))
            draft.publish(Reference.parse(f"n:{number}"), Metadata())


expect_full(announced)
for attempt in (stream, many_versions):
    expect_full(attempt)
    assert library.verify().problems == [], library.verify().problems
for name in library.names():
    if name != "before:latest":
        library.remove(name)
library.gc()
assert library.names() == ["before:latest"]
with library.draft() as draft:
    draft.add_bytes("x", b"again")
    draft.publish(Reference.parse("after"), Metadata())
assert library.verify().ok
print("done")
"""


def test_a_full_disk_stops_the_work_and_harms_nothing(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    probe = [
        unshare or "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "mount",
        "-t",
        "tmpfs",
        "none",
        str(tmp_path),
    ]
    if unshare is None or subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount a file system of their own")
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    disk = tmp_path / "disk"
    disk.mkdir()
    command = (
        f"mount -t tmpfs -o size=12m none {disk} && LLMASOS_DISK_RESERVE=0 exec {sys.executable} {script} {disk}/home"
    )
    done = subprocess.run(
        [unshare, "--user", "--map-root-user", "--mount", "sh", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout.strip() == "done", done.stderr
