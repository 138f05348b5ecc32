"""Which isolation works here. It is tried with a real program, since no setting tells for certain."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from functools import cache

from llmasos.errors import LLMasOSError, Unsupported
from llmasos.evaluation.sandbox.options import Isolation, Limits, OutcomeStatus
from llmasos.i18n import t

SHUT_IN = (Isolation.BUBBLEWRAP, Isolation.NAMESPACES, Isolation.SECCOMP)
"""What ``auto`` tries, in this order."""

_ARCHITECTURES = ("x86_64", "aarch64")

_PROBE = """
import os, socket, sys
def refused(action):
    try:
        action()
    except OSError:
        return
    sys.exit("this could be done in the sandbox: " + action.__name__)
def read_a_file_outside():
    open(CANARY).close()
def write_outside():
    open(OUTSIDE + "/llmasos-sandbox-probe", "w")
def truncate_a_file_outside():
    os.truncate(CANARY, 0)
def open_a_socket():
    socket.socket()
def start_a_process():
    os.fork()
def kill_the_parent():
    os.kill(os.getppid(), 0)
for action in (read_a_file_outside, write_outside, truncate_a_file_outside, open_a_socket, start_a_process,
               kill_the_parent):
    refused(action)
"""
_PROBE_LIMITS = Limits(seconds=5, memory=256)


@cache
def why_not(isolation: Isolation) -> str | None:
    """Tried once in a process: ``None`` if programs can be shut in in this way on this machine, else why not."""
    from llmasos.evaluation.sandbox.process import execute

    if isolation is Isolation.NONE:
        return None
    if platform.machine() not in _ARCHITECTURES:
        return t("the processor is {machine}; known are {known}", machine=platform.machine(),
                 known=", ".join(_ARCHITECTURES))  # fmt: skip
    if isolation is Isolation.BUBBLEWRAP and shutil.which("bwrap") is None:
        return t("bwrap is not installed")
    with tempfile.NamedTemporaryFile(prefix="llmasos-canary-") as canary:
        places = f"CANARY = {canary.name!r}\nOUTSIDE = {sys.base_prefix!r}"
        try:
            outcome = execute((places, _PROBE), _PROBE_LIMITS, isolation)
        except LLMasOSError as error:
            return error.message
    if outcome.status is OutcomeStatus.PASSED:
        return None
    lines = outcome.stderr.strip().splitlines()
    return lines[-1] if lines else outcome.status.value


def available() -> dict[Isolation, str | None]:
    """Every isolation that shuts programs in: ``None`` if it works on this machine, else why not."""
    if sys.platform != "linux":
        return dict.fromkeys(SHUT_IN, t("this is no Linux"))
    return {isolation: why_not(isolation) for isolation in SHUT_IN}


def choose(isolation: Isolation = Isolation.AUTO) -> Isolation:
    """The isolation to use; ``auto`` becomes the first that works.

    Raises:
        Unsupported: it does not work on this machine, or none does.
    """
    if sys.platform != "linux":
        raise Unsupported(
            t("programs that a model wrote are run on Linux only"), hint=t("Run the task on Linux, or in a container.")
        )
    wanted = SHUT_IN if isolation is Isolation.AUTO else (isolation,)
    reasons: dict[Isolation, str | None] = {}
    for candidate in wanted:
        reasons[candidate] = why_not(candidate)
        if reasons[candidate] is None:
            return candidate
    raise Unsupported(
        t("programs that a model wrote cannot be shut in on this machine: {reasons}",
          reasons="; ".join(f"{name.value}: {reason}" for name, reason in reasons.items())),
        hint=t("Install bubblewrap (apt-get install bubblewrap), or run where user namespaces are allowed. "
               "`--unsafe-code` runs programs without isolation: only for a machine that holds nothing."),
    )  # fmt: skip
