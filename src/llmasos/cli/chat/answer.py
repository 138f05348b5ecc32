"""Streaming one answer to the terminal: Ctrl-C ends the answer, a second Ctrl-C ends the program."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import FrameType

try:
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]  # a module, or nothing

from llmasos.cli import terminal
from llmasos.cli.chat.session import Reply, Session
from llmasos.i18n import t
from llmasos.units import format_duration, format_rate


class Interrupt:
    """Whether Ctrl-C was pressed inside the block. Work is asked to stop between two pieces, not torn apart."""

    def __init__(self) -> None:
        self.pressed = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True


@contextmanager
def silent_keyboard() -> Iterator[None]:
    """Keep keys pressed during an answer (and the ``^C``) out of it; they are read as part of the next message."""
    if termios is None or not sys.stdin.isatty():
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    silent = list(before)
    silent[3] = (silent[3] & ~termios.ECHO) | termios.NOFLSH  # Ctrl-C must not discard what is being written
    termios.tcsetattr(descriptor, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Take Ctrl-C as a wish to stop; only the main thread can receive it."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)


def stream_answer(session: Session, text: str) -> Reply:
    """Write the answer to ``text`` as it comes; returns the finished or interrupted reply.

    Raises:
        LLMasOSError: the model refuses; nothing was recorded.
    """
    reply = session.reply(text)
    started = False
    with silent_keyboard(), interruptible() as interrupt, _thinking() as think, closing(iter(reply)) as pieces:
        for piece in pieces:
            if not started:
                think.stop()
                if reply.dropped:
                    say_dropped(session, reply.dropped)
                piece = piece.lstrip()
                started = bool(piece)
            sys.stdout.write(piece)
            sys.stdout.flush()
            if interrupt.pressed:
                break
    if started and not reply.text.endswith("\n"):
        sys.stdout.write("\n")
    sys.stdout.flush()
    return reply


class _Thinking:
    """A spinner until the first piece of text, on a terminal only, and only if that takes a moment."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if sys.stdout.isatty() and terminal.console().is_terminal:
            self._thread = threading.Thread(target=self._draw, daemon=True)
            self._thread.start()

    def _draw(self) -> None:
        frames = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
        shown = False
        index = 0
        while not self._stopped.wait(0.25 if not shown else 0.1):
            sys.stdout.write(f"\r{frames[index % len(frames)]} ")
            sys.stdout.flush()
            shown, index = True, index + 1
        if shown:
            sys.stdout.write("\r  \r")
            sys.stdout.flush()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None


@contextmanager
def _thinking() -> Iterator[_Thinking]:
    thinking = _Thinking()
    thinking.start()
    try:
        yield thinking
    finally:
        thinking.stop()


def say_dropped(session: Session, dropped: int) -> None:
    """Tell that the context is full and how much of the conversation is no longer sent."""
    limit = session.model.context_length
    terminal.console(stderr=True).print(
        t(
            "The context of {limit} tokens is full: the oldest {dropped} messages are left out from now on "
            "({total} in all). /clear starts anew, /save keeps everything.",
            limit=limit if limit is not None else "?",
            dropped=dropped,
            total=session.left_out,
        ),
        style="yellow",
    )


def count_tokens(count: int) -> str:
    """``1 token``, ``42 tokens``."""
    return t("1 token") if count == 1 else t("{count} tokens", count=count)


def statistics_line(session: Session, reply: Reply, began: float) -> str:
    """``42 tokens · 35.1 tokens/s · first after 210 ms · context 312/8192``, as far as it is known."""
    usage, timings = session.last_usage, session.last_timings
    parts = []
    if not reply.finished:
        seconds = time.monotonic() - began
        parts.append(t("stopped after {tokens}", tokens=count_tokens(reply.tokens)))
        if reply.tokens:
            parts.append(format_rate(reply.tokens, seconds, t("tokens")))
        return " · ".join(parts)
    if usage is not None:
        parts.append(count_tokens(usage.completion_tokens))
    if timings is not None:
        rate = timings.tokens_per_second
        if rate is not None:
            parts.append(format_rate(rate, 1.0, t("tokens")))
        parts.append(t("first after {time}", time=format_duration(timings.first_token_seconds)))
    if usage is not None and session.model.context_length:
        used = usage.prompt_tokens + usage.completion_tokens
        parts.append(t("context {used}/{limit}", used=used, limit=session.model.context_length))
    if session.last_finish == "length":
        limit = session.model.context_length
        full = limit is not None and usage is not None and usage.prompt_tokens + usage.completion_tokens >= limit
        parts.append(
            t("cut, the context is full: /clear starts anew")
            if full
            else t("cut at the limit of tokens: /set max_tokens N")
        )
    return " · ".join(parts)
