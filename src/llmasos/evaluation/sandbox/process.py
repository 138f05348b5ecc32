"""One program in one process: start it, read what it writes, stop it in time, and say how it ended."""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import selectors
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from llmasos.evaluation.sandbox.commands import ENVIRONMENT, command, readable
from llmasos.evaluation.sandbox.inside.program import WORD
from llmasos.evaluation.sandbox.options import Isolation, Limits, Outcome, OutcomeStatus
from llmasos.i18n import t

_PIECE = 65_536
_POLL = 0.2
"""Seconds between looks at whether the process has ended, for one that leaves its outputs open."""
_SIGNALS = 128
"""What wrappers add to the number of a signal to make an exit status of it."""


def execute(parts: Sequence[str], limits: Limits, isolation: Isolation) -> Outcome:
    """Run the parts of a program, one after the other in one namespace, and wait for the end.

    The process ends with this one, and with the thread that called this.

    Args:
        isolation: not ``auto``.
    """
    started = time.monotonic()
    word = secrets.token_bytes(WORD)
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryDirectory(prefix="llmasos-sandbox-", ignore_cleanup_errors=True) as folder, ours:
        with theirs:
            process = subprocess.Popen(
                command(isolation, theirs.fileno(), limits),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=isolation is Isolation.NONE,
            )
        order = _order(parts, limits, isolation, folder)
        conversation = _Conversation(process, ours, _message(order, word), limits.output * 1024)
        in_time = False
        try:
            in_time = conversation.follow(started + limits.deadline)
        finally:
            _end(process, isolation, running=not in_time)
        seconds = time.monotonic() - started
    status = _status(conversation, word, process.returncode, in_time)
    stdout, stderr = (bytes(conversation.kept[name]).decode("utf-8", "replace") for name in ("stdout", "stderr"))
    if status is OutcomeStatus.ERROR and not in_time:
        stderr += t("the sandbox did not start within {seconds:g} seconds", seconds=limits.deadline)
    return Outcome(status, stdout, stderr, seconds, conversation.dropped)


def _order(parts: Sequence[str], limits: Limits, isolation: Isolation, folder: str) -> dict[str, object]:
    return {
        "isolation": isolation.value,
        "parts": list(parts),
        "parent": os.getpid(),
        "folder": folder,
        "readable": [] if isolation is Isolation.NONE else readable(),
        "seconds": math.ceil(limits.seconds),
        "memory_bytes": limits.memory * 2**20,
        "file_bytes": limits.file_size * 2**20,
        "temporary_bytes": limits.temporary * 2**20,
    }


def _message(order: dict[str, object], word: bytes) -> bytes:
    data = json.dumps(order).encode()  # lone surrogates stay escaped
    return len(data).to_bytes(4, "big") + data + word


@dataclass
class _Conversation:
    """What goes to and comes from the process: the order, two outputs and the reports.

    The order is sent bit by bit, since one that is long does not fit the socket at once.
    """

    process: subprocess.Popen[bytes]
    channel: socket.socket
    order: bytes
    most: int
    kept: dict[str, bytearray] = field(default_factory=lambda: {"stdout": bytearray(), "stderr": bytearray()})
    reports: bytearray = field(default_factory=bytearray)
    dropped: int = 0

    def follow(self, deadline: float) -> bool:
        """Read what comes until the process has ended. Returns whether that was before the deadline."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        with selectors.DefaultSelector() as selector, self.process.stdout as out, self.process.stderr as errors:
            for stream, name in ((out, "stdout"), (errors, "stderr")):
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, selectors.EVENT_READ, name)
            self.channel.setblocking(False)
            selector.register(self.channel, selectors.EVENT_READ | selectors.EVENT_WRITE, "channel")
            while selector.get_map():
                ended = self.process.poll() is not None
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                ready = selector.select(0 if ended else min(left, _POLL))
                if ended and not ready:  # something that the program left behind holds its outputs
                    return True
                for key, events in ready:
                    more = self._talk(selector, events) if key.data == "channel" else self._read(key)
                    if not more:
                        selector.unregister(key.fileobj)
        try:  # it may have closed everything and go on
            self.process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            return False
        return True

    def _read(self, key: selectors.SelectorKey) -> bool:
        """Read a piece of an output. Returns whether more can come."""
        piece = os.read(key.fd, _PIECE)
        kept = self.kept[key.data]
        room = max(self.most - len(kept), 0)
        kept += piece[:room]
        self.dropped += max(len(piece) - room, 0)
        return bool(piece)

    def _talk(self, selector: selectors.BaseSelector, events: int) -> bool:
        """Send and receive what can be. Returns whether more can come."""
        if events & selectors.EVENT_WRITE:
            try:
                self.order = self.order[self.channel.send(self.order) :]
            except BlockingIOError:
                pass
            except (BrokenPipeError, ConnectionResetError):  # it ended before it had read the order
                return False
            if not self.order:
                selector.modify(self.channel, selectors.EVENT_READ, "channel")
        return not events & selectors.EVENT_READ or self._read_channel()

    def _read_channel(self) -> bool:
        """Read what has come. Returns whether more can come."""
        while True:
            try:
                piece = self.channel.recv(_PIECE)
            except BlockingIOError:
                return True
            except ConnectionResetError:
                return False
            if not piece:
                return False
            self.reports += piece[: max(_PIECE - len(self.reports), 0)]


def _end(process: subprocess.Popen[bytes], isolation: Isolation, *, running: bool) -> None:
    """Stop what still runs. Killing the first process of a namespace ends all others in it."""
    if isolation is Isolation.NONE:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    elif running:
        process.kill()
    process.wait()


def _status(conversation: _Conversation, word: bytes, code: int, in_time: bool) -> OutcomeStatus:
    reports = bytes(conversation.reports).split(b"\n")
    if reports[0] != b"ready":
        return OutcomeStatus.ERROR
    for report in reports[1:]:
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            said = json.loads(report)
            if said["word"] == word.hex():
                return OutcomeStatus(said["ended"])
    stopped_by = -code if code < 0 else code - _SIGNALS
    if not in_time or stopped_by == signal.SIGXCPU:
        return OutcomeStatus.TIMEOUT
    return OutcomeStatus.MEMORY if stopped_by == signal.SIGKILL else OutcomeStatus.FAILED
