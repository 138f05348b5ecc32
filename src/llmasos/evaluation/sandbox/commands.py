"""What is started for each kind of isolation, and what of this machine the program may read."""

from __future__ import annotations

import shutil
import sys
from functools import cache
from pathlib import Path

from llmasos.errors import Unsupported
from llmasos.evaluation.sandbox.inside.namespaces import DEVICES
from llmasos.evaluation.sandbox.options import Isolation, Limits
from llmasos.i18n import t

_INSIDE = Path(__file__).parent / "inside"
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from inside.entry import main; del sys.path[0]; "
    "main(int(sys.argv[2]))"
)
_SYSTEM = ("/usr/lib", "/usr/lib64", "/usr/lib32", "/lib", "/lib64", "/nix/store", "/gnu/store", "/usr/share/zoneinfo",
           "/etc/ld.so.cache")  # fmt: skip

ENVIRONMENT = {
    "HOME": "/tmp",  # noqa: S108 - that of the sandbox
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin:/bin",
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
}
"""All that a program finds in its environment. The seed makes sets come in the same order every time."""


@cache
def readable() -> tuple[str, ...]:
    """The interpreter with its standard library, and the system's libraries; nothing else of the file system.

    Raises:
        Unsupported: the interpreter is installed above the home folder, so that it cannot be shown without that.
    """
    prefixes = {sys.base_prefix, sys.base_exec_prefix, str(Path(sys.base_prefix).resolve())}
    for prefix in prefixes:
        if Path.home().resolve().is_relative_to(Path(prefix).resolve()):
            raise Unsupported(
                t("the Python at {prefix} cannot be shown to a program without the home folder", prefix=prefix),
                hint=t("Install LLMasOS with a Python that has a folder of its own."),
            )
    # outermost first, so that what lies inside another needs no place of its own
    wanted = sorted({*prefixes, *(path for path in _SYSTEM if Path(path).exists())}, key=len)
    kept: list[str] = []
    for path in wanted:
        if not any(Path(path).is_relative_to(other) for other in kept):
            kept.append(path)
    return tuple(kept)


def command(isolation: Isolation, descriptor: int, limits: Limits) -> list[str]:
    """The arguments of the process to start; it reads its order at a descriptor that it inherits."""
    executable = str(Path(getattr(sys, "_base_executable", sys.executable)).resolve())
    # no site-packages, no files of bytecode, nothing imported from the current folder
    python = [executable, "-s", "-S", "-B", "-P", "-c", _START]
    if isolation is not Isolation.BUBBLEWRAP:
        return [*python, str(_INSIDE.parent), str(descriptor)]
    found = shutil.which("bwrap")
    assert found is not None  # its presence was tried
    arguments = [found, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    arguments += ["--perms", "1777", "--size", str(limits.temporary * 2**20), "--tmpfs", "/tmp"]  # noqa: S108
    for path in readable():  # after /tmp, for a Python may lie there
        arguments += ["--ro-bind", path, path]
    if not any(Path(executable).is_relative_to(path) for path in readable()):
        arguments += ["--ro-bind", executable, executable]
    arguments += ["--ro-bind", str(_INSIDE), "/sandbox/inside"]
    for path in DEVICES:
        arguments += ["--dev-bind", path, path]
    arguments += ["--remount-ro", "/", "--chdir", "/tmp"]  # noqa: S108
    return [*arguments, "--", *python, "/sandbox", str(descriptor)]
