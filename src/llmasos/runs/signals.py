"""Signals that ask work to stop: the first gently, the second at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from llmasos.runs.context import RunContext, Stopped

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, `llmasos runs stop`, a terminal that was closed


class StopSignals:
    """Handles the signals while the block runs; does nothing outside the main thread, where Python allows no handlers.

    Args:
        context: the work that is asked.
        polls: whether the work looks at ``should_stop``; otherwise the first signal raises :class:`Stopped` in it.
        on_stop: called when the work has been asked.
    """

    def __init__(self, context: RunContext, *, polls: bool, on_stop: Callable[[], None] | None = None) -> None:
        self._context = context
        self._polls = polls
        self._on_stop = on_stop
        self._owner = os.getpid()
        self._before: dict[int, Any] = {}
        self._working = False

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for name in _NAMES:
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as nohup asks for
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def working(self) -> Iterator[None]:
        """The time in which signals mean anything; what comes later must not disturb the recording of the outcome."""
        self._working = True
        try:
            yield
        finally:
            self._working = False

    def ask(self) -> None:
        """Ask the work to stop from another thread, unless it has been asked."""
        if self._context.should_stop():
            return
        if self._before:
            os.kill(self._owner, signal.SIGTERM)  # so that work which does not look at should_stop ends too
        else:
            self._context.ask_to_stop()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a process that the work forked
            raise SystemExit(128 + number)
        if not self._working:
            return
        if self._context.should_stop():
            if number == getattr(signal, "SIGHUP", None):
                return  # one closed terminal sends several: its own, and that of the shell in it
            raise Stopped
        self._context.ask_to_stop()
        if self._on_stop is not None:
            self._on_stop()
        if not self._polls:
            raise Stopped
