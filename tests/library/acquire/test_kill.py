"""kill -9 at any moment: the library stays whole, nothing is half there, and the next pull goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from standin_fixtures import tiny_model
from standin_hub import HubRepo, HubStandIn
from standin_index import IndexStandIn
from standin_registry import RegistryStandIn

from llmasos.library.acquire import import_path, pull, push
from llmasos.library.store import Library

DRIVER = Path(__file__).parents[2] / "standins" / "transfer_driver.py"
ROUNDS = 25  # with two processes each


@pytest.mark.integration
@pytest.mark.timeout(600)
def test_fifty_kills(
    hub: HubStandIn, index: IndexStandIn, registry: RegistryStandIn, library: Library, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name, data in tiny_model(150_000).items():
        (folder / name).write_bytes(data)
    hub.repos["org/tiny"] = HubRepo(tiny_model(400_000))
    filename = index.add("tiny", "1", {f"tiny/{path}": data for path, data in tiny_model(300_000).items()})
    target = f"oci:{registry.host}/tiny:v1"
    sources = ["hf:org/tiny", "pypi:tiny==1/tiny", target]

    # What undisturbed pulls give.
    quiet = Library(tmp_path / "quiet")
    hub.repos["org/other"] = HubRepo(tiny_model(250_000))
    pull("hf:org/other", library=quiet)
    push("org/other", target, library=quiet)
    expected = {source: pull(source, library=quiet).digest for source in sources}
    expected["import"] = import_path(folder, name="imported:v1", library=quiet).digest
    quiet.close()

    for name in ("model.safetensors", filename, *registry.blobs["tiny"]):
        hub.faults.delay[name] = index.faults.delay[name] = registry.faults.delay[name] = 0.002
    choice = random.Random(20261123)
    done: Counter[str] = Counter()
    driver = subprocess.Popen(
        [sys.executable, str(DRIVER), str(library.home), str(folder), *sources],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

    def tell(line: str) -> str:
        assert driver.stdin is not None
        assert driver.stdout is not None
        driver.stdin.write(line + "\n")
        driver.stdin.flush()
        return driver.stdout.readline().strip()

    assert driver.stdout is not None
    assert driver.stdout.readline() == "ready\n"
    for number in range(ROUNDS):
        logs = [tmp_path / f"{number}-{which}.log" for which in (1, 2)]
        workers = [int(tell(f"fork {log.stem} {log}")) for log in logs]
        for worker, log in zip(workers, logs, strict=True):
            time.sleep(choice.uniform(0, 0.8))
            os.kill(worker, signal.SIGKILL)
            assert tell(f"reap {worker}") == "reaped"
            text = log.read_text() if log.exists() else ""
            assert "Traceback" not in text, text
            done.update(text.split())
        report = library.verify()
        assert report.ok, (number, report.problems)
        for name in library.names():
            version = library.resolve(name)
            assert version.digest in expected.values()
            view = library.view(version)
            assert {path.relative_to(view).as_posix() for path in view.rglob("*") if path.is_file()} == set(
                version.paths
            )
    assert driver.stdin is not None
    driver.stdin.close()
    assert driver.wait(20) == 0
    assert done["pull"] > 10
    assert done["import"] > 3
    assert done["rm"] + done["gc"] > 5

    for source, digest in expected.items():
        if source != "import":
            assert pull(source, library=library).digest == digest
    library.gc()
    assert library.verify().ok
    assert list((library.home / "staging").iterdir()) == []


@pytest.mark.integration
def test_a_killed_download_goes_on_where_it_stopped(hub: HubStandIn, library: Library) -> None:
    """A process is killed at about half of the file; the next one fetches only the rest."""
    files = tiny_model(2_000_000)
    hub.repos["org/tiny"] = HubRepo(files)
    size = len(files["model.safetensors"])
    hub.faults.delay["model.safetensors"] = 0.02
    child = subprocess.Popen(
        [sys.executable, "-m", "llmasos.cli.app", "pull", "hf:org/tiny"], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while hub.sent("model.safetensors") < size // 2:
        assert time.monotonic() < deadline
        assert child.poll() is None, child.communicate()[1]
        time.sleep(0.005)
    child.kill()
    child.wait()
    time.sleep(0.1)
    first = hub.sent("model.safetensors")
    assert first < size
    hub.faults.delay.clear()
    assert library.versions() == []
    version = pull("hf:org/tiny", library=library)
    rest = hub.sent("model.safetensors") - first
    assert version.manifest.files["model.safetensors"].size == size
    assert rest <= size - first + 2**20  # what was on its way in the buffers of the connection comes again
    assert hub.requests("GET", "/model.safetensors")[-1].headers["range"].startswith("bytes=")
    assert rest < 0.75 * size


@pytest.mark.integration
def test_two_processes_pull_the_same_thing_once(hub: HubStandIn, library: Library) -> None:
    files = tiny_model(1_000_000)
    hub.repos["org/tiny"] = HubRepo(files)
    hub.faults.delay["model.safetensors"] = 0.01
    command = [sys.executable, "-m", "llmasos.cli.app", "pull", "hf:org/tiny"]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    written = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0], written
    assert hub.sent("model.safetensors") == len(files["model.safetensors"])
    assert sum("waiting" in err for _, err in written) == 1, written
    assert library.verify().ok
