"""Several processes on one library: killed at random moments, and all at once.

The children are forked from the test, so that none spends its life importing.
"""

import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from llmasos.errors import NotFound
from llmasos.library.digest import digest_of
from llmasos.library.metadata import Lineage, LineageInput, Metadata
from llmasos.library.reference import Reference
from llmasos.library.store import Library

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

NAMES = ["a", "b", "n/c:v1"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where there is one: a kill, unlike a power cut, does not depend on what reached the disk."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


def fork(work: Callable[[], None]) -> int:
    """Run ``work`` in a child process; its exit status says whether it raised."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    except BaseException:  # noqa: BLE001 - the status tells the parent
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(status)


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def files_of(number: int) -> dict[str, bytes]:
    """Some files are shared between versions, some are not."""
    return {
        "config.json": b"{}",
        "model.safetensors": b"weights %d" % number,
        "vocab.txt": b"v" * (number % 3) * 5000,
        "number": b"%d" % number,
    }


def publish(library: Library, name: str, number: int) -> None:
    with library.draft() as draft:
        for path, data in files_of(number).items():
            (draft.directory / "scratch").write_bytes(data)
            draft.add_file(path, draft.directory / "scratch", move=number % 2 == 0)
        lineage = Lineage(step="train", inputs=[LineageInput(role="base", digest=digest_of(b"%d" % number))])
        draft.publish(Reference.parse(name), Metadata(parameters=number), lineage=lineage)


def work_forever(home: Path, seed: int, pulse: int | None = None) -> None:
    """Publish, remove, collect, tag and view without end; each step done is a byte into ``pulse``."""
    library = Library(home)
    chance = random.Random(seed)
    while True:
        one_step(library, chance)
        if pulse is not None:
            os.write(pulse, b".")


def one_step(library: Library, chance: random.Random) -> None:
    name = chance.choice(NAMES)
    try:
        match chance.randrange(8):
            case 0 | 1 | 2 | 3:
                publish(library, name, chance.randrange(12))
            case 4:
                library.remove(name)
            case 5:
                library.gc()
            case 6:
                library.tag(name, chance.choice(NAMES))
            case 7:
                library.view(library.resolve(name))
    except NotFound:
        pass  # nothing has this name now


def check(library: Library) -> None:
    """The library opens, every byte is right, and every version is one that was published, whole."""
    report = library.verify()
    assert report.problems == []
    for row in library.versions():
        version = library.version(row.digest)
        number = version.metadata.parameters
        assert number is not None
        files = {
            path: library.blobs.read(file.digest)
            for path, file in version.manifest.files.items()
            if path != "README.md"
        }
        assert files == files_of(number)
        assert len(library.lineage(version)) == 1
        folder = library.home / "views" / version.digest.removeprefix("sha256:")
        if folder.exists():
            assert {path.name for path in folder.iterdir()} == set(version.paths)


def check_tidy(library: Library) -> None:
    """After a collection nothing is left that nothing needs."""
    library.gc()
    check(library)
    needed = {blob.digest for row in library.versions() for blob in library.version(row.digest).manifest.blobs}
    assert set(library.blobs.digests()) == needed | {row.digest for row in library.versions()}
    assert list((library.home / "staging").iterdir()) == []
    assert all(row.names for row in library.versions())
    second = library.gc()
    assert (second.blobs, second.versions, second.drafts, second.views) == ([], [], 0, 0)


def test_killed_fifty_times(folder: Path) -> None:
    Library(folder).names()
    chance = random.Random(20240)
    reached = 0
    for round_ in range(50):
        listen, pulse = os.pipe()
        pid = fork(lambda seed=round_, pulse=pulse: work_forever(folder, seed, pulse))  # type: ignore[misc]
        os.close(pulse)
        for _ in range(chance.randrange(1, 4)):  # let it do some steps, however busy the machine is ...
            assert os.read(listen, 1) == b"."
        time.sleep(chance.uniform(0.0, 0.03))  # ... and kill it somewhere inside the next ones
        os.kill(pid, signal.SIGKILL)
        assert wait(pid) == -signal.SIGKILL
        os.close(listen)
        library = Library(folder)
        check(library)
        reached += bool(library.versions())
        library.close()
    assert reached > 25
    library = Library(folder)
    check_tidy(library)
    publish(library, "a", 1)
    assert library.resolve("a").metadata.parameters == 1
    library.close()


def test_killed_while_the_library_is_made(folder: Path) -> None:
    Library(folder / "warm").names()  # so that the children spend no time on imports
    chance = random.Random(7)
    for round_ in range(10):
        home = folder / str(round_)
        pid = fork(lambda home=home: work_forever(home, 0))  # type: ignore[misc]
        time.sleep(chance.uniform(0.0, 0.12))
        os.kill(pid, signal.SIGKILL)
        wait(pid)
        library = Library(home)
        check(library)
        publish(library, "a", 3)
        check(library)
        library.close()


def test_many_at_once_on_everything(folder: Path) -> None:
    Library(folder).names()

    def work(seed: int) -> None:
        library = Library(folder)
        chance = random.Random(seed)
        for _ in range(25):
            one_step(library, chance)
        assert library.verify().problems == []

    children = [fork(lambda seed=seed: work(seed)) for seed in range(4)]  # type: ignore[misc]
    assert [wait(pid) for pid in children] == [0, 0, 0, 0]
    check_tidy(Library(folder))


def test_the_same_thing_published_by_several_at_once(folder: Path) -> None:
    Library(folder).names()
    start = time.time() + 0.3

    def work() -> None:
        time.sleep(max(0.0, start - time.time()))
        publish(Library(folder), "a", 7)

    assert [wait(pid) for pid in [fork(work) for _ in range(5)]] == [0] * 5
    library = Library(folder)
    [row] = library.versions()
    assert row.names == ("a:latest",)
    check(library)
    assert library.gc().blobs == []


def test_a_keyed_draft_of_a_killed_process_is_taken_over(folder: Path) -> None:
    library = Library(folder)
    library.names()

    def work() -> None:
        with library.draft("pull-x") as draft:
            (draft.directory / "part").write_bytes(b"half")
            time.sleep(60)

    pid = fork(work)
    part = folder / "staging" / "pull-x" / "files" / "part"
    deadline = time.monotonic() + 10
    while not (part.exists() and part.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert library.gc().drafts == 0  # its process lives
    os.kill(pid, signal.SIGKILL)
    wait(pid)
    with library.draft("pull-x", timeout=5) as draft:
        assert (draft.directory / "part").read_bytes() == b"half"
