"""A disk that is full while a run writes: the work goes on, and what happened is told when there is room again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import os, sys
from pathlib import Path
from llmasos.library.store import Library
from llmasos.runs.events import EventFile
from llmasos.runs.execution import Done, execute
from llmasos.runs.store import EVENTS, RunStore

home = Path(sys.argv[1])
store = RunStore(Library(home))

def fill():
    with (home / "ballast").open("wb", buffering=0) as file:
        size = 1 << 16
        while size:
            try:
                file.write(os.urandom(size))
            except OSError:
                size //= 2

def work(context):
    context.report(step=1, loss=1.0)
    fill()
    for step in range(2, 200):
        context.report(step=step, loss=1.0)
    (home / "ballast").unlink()
    context.report(step=200, loss=1.0)
    return Done()

run = store.claim(store.create("count", "kind: count").id)
finished = execute(store, run, work)
assert finished.run.state == "succeeded", finished
file = EventFile(store.folder(run) / EVENTS)
steps = [event.values["step"] for event in file.read() if event.kind == "metric"]
assert steps == list(range(1, 201)), steps
assert file.damaged == []

def full_to_the_end(context):
    fill()
    (context.folder / "weights").write_bytes(os.urandom(1 << 20))
    return Done()

run = store.claim(store.create("count", "kind: count").id)
finished = execute(store, run, full_to_the_end)
assert finished.outcome.failure.code == "out_of_disk", finished
assert finished.run.state == "failed" and finished.run.can_resume, "the catalogue knows, though the disk is full"
store.remove(finished.run)
assert store.get(finished.run.id) is None
(home / "ballast").unlink()
print("done")
"""


def test_a_full_disk_does_not_end_the_work(tmp_path: Path) -> None:
    unshare = shutil.which("unshare") or "unshare"
    probe = [unshare, "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount a file system of their own")
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    disk = tmp_path / "disk"
    disk.mkdir()
    command = f"mount -t tmpfs -o size=6m none {disk} && exec {sys.executable} {script} {disk}/home"
    done = subprocess.run(
        [unshare, "--user", "--map-root-user", "--mount", "sh", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.stdout.strip() == "done", done.stderr[-3000:]
