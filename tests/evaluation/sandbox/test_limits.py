"""Programs that take too much: processes, time, memory, files, output. None survives, and none stops us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmasos.evaluation.sandbox.options import Isolation, Limits, OutcomeStatus
from llmasos.evaluation.sandbox.run import run
from sandboxed import SHORT, Execute

pytestmark = pytest.mark.integration  # many processes

PASSED, FAILED, TIMEOUT, MEMORY = (
    OutcomeStatus.PASSED, OutcomeStatus.FAILED, OutcomeStatus.TIMEOUT, OutcomeStatus.MEMORY,
)  # fmt: skip


def processes() -> dict[int, list[int]]:
    """The children of every process of this machine."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                status = (folder / "stat").read_text()
            except OSError:
                continue
            children.setdefault(int(status.rpartition(")")[2].split()[1]), []).append(int(folder.name))
    return children


def descendants(process: int) -> set[int]:
    children, found, todo = processes(), set(), [process]
    while todo:
        below = children.get(todo.pop(), [])
        found |= set(below)
        todo += below
    return found


def test_a_fork_bomb(execute: Execute) -> None:
    before = descendants(os.getpid())
    outcome = execute("import os\nwhile True:\n    os.fork()")
    assert outcome.status is FAILED
    assert "PermissionError" in outcome.stderr
    assert descendants(os.getpid()) == before


@pytest.mark.parametrize(
    "statement",
    [
        "os.system('sleep 60 &') == 0 or bad()",
        "subprocess.Popen(['sleep', '60'])",
        "os.posix_spawn('/bin/sleep', ['sleep', '60'], {})",
        "multiprocessing.get_context('fork').Process(target=print).start()",
        "multiprocessing.get_context('spawn').Process(target=print).start()",
        "ctypes.CDLL(None).fork() >= 0 or bad()",
        "ctypes.CDLL(None).syscall(56, 17, 0, 0, 0, 0) >= 0 or bad()",
        "ctypes.CDLL(None).syscall(435, 0, 0) >= 0 or bad()",
        "os.forkpty()",
    ],
)
def test_no_process_can_be_started(execute: Execute, statement: str) -> None:
    before = descendants(os.getpid())
    outcome = execute(
        f"import ctypes, multiprocessing, os, subprocess\ndef bad():\n    raise OSError('refused')\n{statement}"
    )
    assert outcome.status is FAILED, outcome
    assert "Error" in outcome.stderr
    assert descendants(os.getpid()) == before


def test_a_fork_bomb_that_never_gives_up(execute: Execute) -> None:
    before = descendants(os.getpid())
    outcome = execute("import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass")
    assert outcome.status is TIMEOUT
    assert descendants(os.getpid()) == before


def test_a_thread_bomb(execute: Execute) -> None:
    outcome = execute(
        """
        import threading, time
        threading.stack_size(32768)
        try:
            for count in range(100_000):
                threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
        except (RuntimeError, MemoryError):
            print(count)
        """
    )
    assert outcome.status is PASSED, outcome
    assert int(outcome.stdout) < 100


def test_threads_end_with_the_program(execute: Execute) -> None:
    before = descendants(os.getpid())
    outcome = execute(
        """
        import threading, time
        try:
            threading.Thread(target=time.sleep, args=(100,)).start()
        except RuntimeError:
            pass
        """
    )
    assert outcome.status is PASSED, outcome
    assert outcome.seconds < 50
    assert descendants(os.getpid()) == before


@pytest.mark.parametrize("program", ["while True: pass", "9 ** 9 ** 9", "import re\nre.match('(a*)*b', 'a' * 100)"])
def test_endless_work(execute: Execute, program: str) -> None:
    assert execute(program).status is TIMEOUT


@pytest.mark.parametrize(
    "program",
    [
        "import time\ntime.sleep(1000)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
        "import signal\n[signal.signal(it, signal.SIG_IGN) for it in (2, 15, 24)]\nsignal.pause()",
        "import os, time\nos.closerange(0, 100)\ntime.sleep(1000)",
    ],
)
def test_endless_waiting(execute: Execute, program: str) -> None:
    before = descendants(os.getpid())
    assert execute(program).status is TIMEOUT
    assert descendants(os.getpid()) == before


@pytest.mark.parametrize(
    "program",
    [
        "data = []\nwhile True:\n    data.append(bytearray(2**24))",
        "bytearray(2**40)",
        "x = 'a' * 2**29",
        "import mmap\ntry:\n    mmap.mmap(-1, 2**29)\nexcept OSError:\n    raise MemoryError",
    ],
)
def test_too_much_memory(execute: Execute, program: str) -> None:
    # On a slow machine under load, making 256 MiB of zeros takes longer than a second.
    assert execute(program, limits=SHORT.model_copy(update={"seconds": 20, "wall_seconds": 40})).status is MEMORY


def test_a_program_may_survive_its_own_greed(execute: Execute) -> None:
    outcome = execute("try:\n    bytearray(2**40)\nexcept MemoryError:\n    print('caught')")
    assert (outcome.status, outcome.stdout) == (PASSED, "caught\n")


def test_files_too_large_and_too_many(execute: Execute, isolation: Isolation) -> None:
    outcome = execute(
        """
        import os
        sizes = {}
        try:
            for number in range(1000):
                with open(f"file{number}", "wb") as file:
                    while file.tell() < 2**25:
                        file.write(bytes(2**20))
        except OSError as error:
            print(type(error).__name__, error.errno)
        total = 0
        try:
            for number in range(1000):
                with open(f"small{number}", "wb") as file:
                    file.write(bytes(2**19))
                    total += 2**19
        except OSError as error:
            print(error.errno)
        print(total)
        """,
        limits=Limits(seconds=5, memory=256, file_size=2, temporary=8),
    )
    assert outcome.status is PASSED, outcome
    total = int(outcome.stdout.split()[-1])
    if isolation is Isolation.SECCOMP:
        assert total == 0
    else:
        assert outcome.stdout.startswith("OSError 27\n28\n")  # too large, no space left
        assert 0 < total < 8 * 2**20


def test_endless_output(execute: Execute) -> None:
    outcome = execute("while True:\n    print('x' * 1000)")
    assert outcome.status is TIMEOUT
    assert len(outcome.stdout) == SHORT.output * 1024
    assert outcome.dropped_bytes > 0


def test_much_output_is_cut_and_counted(execute: Execute) -> None:
    outcome = execute("import sys\nprint('x' * 10**6)\nsys.stderr.write('y' * 10**5)")
    assert outcome.status is PASSED
    assert len(outcome.stdout) == len(outcome.stderr) == 65536
    assert outcome.dropped_bytes == 10**6 + 1 + 10**5 - 2 * 65536


def test_a_program_much_longer_than_a_pipe(execute: Execute) -> None:
    outcome = execute(f"text = {'中' * 10**6!r}\nassert len(text) == 10**6")
    assert outcome.status is PASSED, outcome.stderr[-300:]


def test_nothing_survives_us(isolation: Isolation) -> None:
    """The process that runs programs is killed; the programs end with it."""
    source = (
        "from llmasos.evaluation.sandbox.options import Isolation, Limits\n"
        "from llmasos.evaluation.sandbox.run import run\n"
        f"run('import time; time.sleep(100)', Limits(seconds=100), Isolation({isolation.value!r}))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", source])
    deadline = time.monotonic() + 60
    running: set[int] = set()
    while time.monotonic() < deadline:
        found = descendants(parent.pid)
        if found and found == running:  # the trial is over and the program itself runs
            break
        running = found
        time.sleep(0.7)
    assert running
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while any(Path(f"/proc/{process}").exists() for process in running) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [process for process in running if Path(f"/proc/{process}").exists()] == []


def test_without_isolation_the_limits_hold_and_nothing_stays() -> None:
    before = descendants(os.getpid())
    limits = Limits(seconds=1, memory=256, wall_seconds=2)
    assert run("while True: pass", limits, Isolation.NONE).status is TIMEOUT
    assert run("bytearray(2**40)", limits, Isolation.NONE).status is MEMORY
    assert run("import subprocess\nsubprocess.Popen(['sleep', '60'])", limits, Isolation.NONE).status is PASSED
    assert descendants(os.getpid()) == before
