"""What a hostile program tries, for real, in every isolation of this machine: files, network, secrets, processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmasos.evaluation.sandbox.options import OutcomeStatus
from sandboxed import Execute

pytestmark = pytest.mark.integration  # many processes

PASSED, FAILED = OutcomeStatus.PASSED, OutcomeStatus.FAILED

TRY = """
import os
def gets_through(action):
    try:
        action()
    except (OSError, RuntimeError):
        return False
    return True
"""
"""Part that defines what the programs below use to try something."""


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "canary.txt"
    path.parent.mkdir()
    path.write_text("a secret that nobody may read")
    return path


@pytest.fixture
def victim() -> Iterator[int]:
    """A process of the same user that must live on."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    yield process.pid
    assert process.poll() is None, "the program killed another process"
    process.kill()
    process.wait()


def test_the_attempts_succeed_without_isolation(canary: Path) -> None:
    """The programs below do what they say: outside the sandbox the same statements work."""
    from llmasos.evaluation.sandbox.options import Isolation, Limits
    from llmasos.evaluation.sandbox.run import run

    program = TRY + f"assert gets_through(lambda: print(open({str(canary)!r}).read()))\nos.remove({str(canary)!r})"
    outcome = run(program, Limits(seconds=5), Isolation.NONE)
    assert outcome.status is PASSED, outcome
    assert "a secret" in outcome.stdout
    assert not canary.exists()


def test_files_outside_cannot_be_read(execute: Execute, canary: Path) -> None:
    outcome = execute(
        TRY,
        f"""
        import shutil
        for path in ({str(canary)!r}, "/etc/passwd", "/etc/shadow", "/proc/self/environ", "/proc/1/environ", "/dev/mem",
                     os.path.expanduser("~root/.bashrc"), {str(Path(__file__))!r},
                     {str(Path.home())!r} + "/.ssh/id_rsa"):
            for opened in (path, os.path.join("..", *[".."] * 12, path.lstrip("/"))):
                try:
                    print(open(opened, "rb").read())
                except OSError:
                    continue
                raise SystemError("could read " + opened)
        for path in ({str(canary.parent)!r}, {str(canary.parent.parent)!r}, "/home", "/work", "/etc", "/proc"):
            try:
                assert not set(os.listdir(path)) - {{"ld.so.cache"}}, path
            except OSError:
                pass
        """,
    )
    assert outcome.status is PASSED, outcome
    assert "secret" not in outcome.stdout


def test_files_outside_cannot_be_changed(execute: Execute, canary: Path) -> None:
    folder = str(canary.parent)
    before = canary.stat()
    outcome = execute(
        TRY,
        f"""
        import ctypes, shutil
        canary, folder = {str(canary)!r}, {folder!r}
        def by_the_library(path):
            if ctypes.CDLL(None).truncate(path.encode(), ctypes.c_long(0)):
                raise OSError("refused")
        shutil.rmtree(folder, ignore_errors=True)
        for action in (
            lambda: os.remove(canary), lambda: os.truncate(canary, 0), lambda: os.rename(canary, canary + "2"),
            lambda: os.chmod(canary, 0o777), lambda: os.chown(canary, 12345, 12345), lambda: os.utime(canary, (1, 1)),
            lambda: os.rmdir(folder), lambda: os.link(canary, "link"), lambda: os.replace(canary, "here"),
            lambda: open(canary, "w"), lambda: open(canary, "a"), lambda: os.setxattr(canary, "user.a", b"b"),
            lambda: os.open(canary, os.O_RDONLY | os.O_TRUNC), lambda: os.truncate(canary, 5),
            lambda: by_the_library(canary),
        ):
            assert not gets_through(action), action.__code__.co_consts
        """,
    )
    assert outcome.status is PASSED, outcome
    assert canary.read_text() == "a secret that nobody may read"
    after = canary.stat()
    assert (before.st_mode, before.st_uid, before.st_mtime_ns) == (after.st_mode, after.st_uid, after.st_mtime_ns)


def test_nothing_can_be_written_outside(execute: Execute, tmp_path: Path) -> None:
    standard_library = str(Path(os.__file__).parent)
    outcome = execute(
        TRY,
        f"""
        for folder in ("/", "/dev", "/dev/shm", "/etc", "/usr/lib", "/var/tmp", {standard_library!r}, {str(tmp_path)!r},
                       {str(Path.home())!r}, {str(Path.cwd())!r}):
            path = folder + "/llmasos-escape"
            for action in (lambda: open(path, "w"), lambda: os.mkdir(path), lambda: os.symlink("/", path),
                           lambda: os.mkfifo(path), lambda: os.mknod(path)):
                assert not gets_through(action), path
        library = os.__file__
        for action in (lambda: open(library, "a"), lambda: os.remove(library), lambda: os.chmod(library, 0)):
            assert not gets_through(action)
        """,
    )
    assert outcome.status is PASSED, outcome
    assert list(tmp_path.iterdir()) == []
    assert not Path(standard_library, "llmasos-escape").exists()


def test_links_lead_nowhere(execute: Execute, canary: Path) -> None:
    outcome = execute(
        TRY,
        f"""
        def follow(target):
            os.symlink(target, "link")
            try:
                print(open("link").read())
                open("link", "w").write("changed")
            finally:
                os.remove("link")
        for target in ({str(canary)!r}, "/proc/1/root" + {str(canary)!r}, "/proc/self/cwd/../../canary", "/etc/passwd"):
            assert not gets_through(lambda: follow(target)), target
        """,
    )
    assert outcome.status is PASSED, outcome
    assert canary.read_text() == "a secret that nobody may read"


def test_the_temporary_folder_disappears(execute: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    outcome = execute(
        "import os\ntry:\n    open('file', 'w').write('x')\nexcept PermissionError:\n    pass\nprint(os.getcwd())"
    )
    assert outcome.status is PASSED, outcome
    assert list(tmp_path.iterdir()) == []


def test_the_network_cannot_be_reached(execute: Execute) -> None:
    accepted = []
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(f"\0llmasos-test-{os.getpid()}")
        local.listen()
        port = server.getsockname()[1]

        def accept() -> None:
            server.settimeout(5)
            try:
                accepted.append(server.accept())
            except OSError:
                return

        thread = threading.Thread(target=accept)
        thread.start()
        outcome = execute(
            TRY,
            f"""
            import socket, urllib.request
            def connect(family, kind, address):
                with socket.socket(family, kind) as it:
                    it.settimeout(0.5)
                    it.connect(address)
                    it.send(b"hello")
            for action in (
                lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", {port})),
                lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", {port})),
                lambda: connect(socket.AF_INET6, socket.SOCK_STREAM, ("::1", {port})),
                lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, "\\0llmasos-test-{os.getpid()}"),
                lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, "/var/run/docker.sock"),
                lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
                lambda: socket.getaddrinfo("localhost.example", 80),
                lambda: socket.gethostbyname("example.com"),
                lambda: urllib.request.urlopen("http://127.0.0.1:{port}/", timeout=0.5),
            ):
                assert not gets_through(action), action.__code__.co_consts
            """,
        )
        assert outcome.status is PASSED, outcome
        assert accepted == []
        with socket.create_connection(("127.0.0.1", port)):  # the server was there all the time
            thread.join()
        assert len(accepted) == 1
        accepted[0][0].close()


def test_secrets_of_the_environment_stay_outside(execute: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMASOS_TEST_SECRET", "sesame")
    outcome = execute(
        f"""
        import ctypes, os
        print(dict(os.environ), ctypes.CDLL(None).getenv(b"LLMASOS_TEST_SECRET"))
        for process in ("self", "1", "2", os.getppid(), {os.getpid()}, {os.getppid()}):
            for name in ("environ", "cmdline", "maps", "mem", "root/etc/passwd"):
                try:
                    print(open(f"/proc/{{process}}/{{name}}", "rb").read(100_000))
                except OSError:
                    pass
        """
    )
    assert outcome.status is PASSED, outcome
    assert "sesame" not in outcome.stdout
    assert outcome.stdout.endswith(" 0\n")
    assert "PYTHONPATH" not in outcome.stdout


def test_other_processes_cannot_be_touched(execute: Execute, victim: int) -> None:
    outcome = execute(
        TRY,
        f"""
        import ctypes, signal
        libc = ctypes.CDLL(None, use_errno=True)
        victims = ({victim}, {os.getpid()}, os.getppid(), 1)
        def system_call(*arguments):
            if libc.syscall(*map(ctypes.c_long, arguments)) < 0:
                raise OSError(ctypes.get_errno(), "refused")
        for process in victims:
            harmless = signal.SIGKILL if process == {victim} else 0
            for action in (
                lambda: os.kill(process, harmless),
                lambda: os.pidfd_open(process),
                lambda: system_call(234, process, process, harmless),  # tgkill
                lambda: system_call(101, 16, process, 0, 0),  # ptrace, attach
                lambda: system_call(310, process, 0, 0, 0, 0, 0),  # process_vm_readv
                lambda: open(f"/proc/{{process}}/mem", "r+b"),
            ):
                assert not gets_through(action), (process, action.__code__.co_consts)
        for action in (lambda: os.kill(-1, signal.SIGKILL), lambda: os.kill(0, signal.SIGKILL),
                       lambda: os.killpg(os.getpgid(0), signal.SIGKILL), lambda: libc.prctl(1, 0) and 1 / 0):
            try:
                assert not gets_through(action)
            except ZeroDivisionError:
                pass
        import resource
        assert not gets_through(lambda: resource.prlimit({victim}, resource.RLIMIT_CPU, (0, 0)))
        """,
    )
    assert outcome.status is PASSED, outcome


def test_the_kernel_offers_nothing_more(execute: Execute) -> None:
    outcome = execute(
        TRY,
        """
        import ctypes, resource
        libc = ctypes.CDLL(None, use_errno=True)
        def call(name, *arguments):
            if getattr(libc, name)(*arguments) < 0:
                raise OSError(ctypes.get_errno(), name)
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        for action in (
            lambda: call("unshare", 0x10000000), lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
            lambda: call("umount2", b"/tmp", 2), lambda: call("chroot", b"/tmp"), lambda: call("setns", 0, 0),
            lambda: call("syscall", 425, 8, 0),  # io_uring_setup
            lambda: call("syscall", 321, 0, 0, 0),  # bpf
            lambda: call("memfd_create", b"x", 0), lambda: call("shmget", 0, 4096, 0o1600),
            lambda: call("sethostname", b"x", 1), lambda: call("personality", 0x40000),
            lambda: os.setuid(0) if os.getuid() else call("setgroups", 1, None),
            lambda: os.execv("/bin/sh", ["sh"]), lambda: os.mknod("/tmp/memory", 0o20666, os.makedev(1, 1)),
        ):
            assert not gets_through(action), action.__code__.co_consts
        try:
            resource.setrlimit(resource.RLIMIT_AS, (2 * hard, 2 * hard))
        except ValueError:
            pass
        else:
            raise SystemError("could raise a limit")
        """,
    )
    assert outcome.status is PASSED, outcome
