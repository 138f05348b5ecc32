"""What the terminal can show: consoles, and sinks that draw progress events.

Bars are drawn only where standard error is a terminal; elsewhere (a log file, a pipe) progress is plain lines.
Colours follow the terminal, ``NO_COLOR`` and ``TERM=dumb``.
"""

from __future__ import annotations

import sys
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, TextIO

from llmasos.progress import Event
from llmasos.units import format_bytes, format_duration, format_rate

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

#: Seconds that a task must last to be worth a line; faster ones only draw their bar.
BRIEF = 1.0


def is_interactive() -> bool:
    """Whether a person can be asked: both standard input and standard error are a terminal."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


@lru_cache
def console(*, stderr: bool = False) -> Console:
    """The console of standard output or standard error. Text is printed as it is: no markup, no highlighting."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)


def amount(value: float, unit: str | None) -> str:
    """``value`` of ``unit``: bytes in binary units, everything else with thousands separators."""
    if unit == "B":
        return format_bytes(value)
    text = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"
    return f"{text} {unit}" if unit else text


class BarSink:
    """Draws tasks as progress bars with amount, speed and time left; a finished task leaves one line behind.

    Worker threads may report at the same time. Use as a context manager.
    """

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self._progress: Progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[amount]}", style="progress.download"),
            TextColumn("{task.fields[speed]}", style="progress.data.speed"),
            TextColumn("{task.fields[left]}", style="progress.remaining"),
            console=console(stderr=True),
            transient=True,
        )
        self._tasks: dict[int, TaskID] = {}
        self._rates: dict[int, Rate] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> BarSink:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        with self._lock:
            if event.task is None:
                if event.kind == "log" and event.values.get("level") != "debug":
                    self._progress.console.print(event.label)
            elif event.kind == "started":
                self._rates[event.task] = Rate(event.time, event.completed or 0.0)
                self._tasks[event.task] = self._progress.add_task(
                    event.label, total=event.total, amount="", speed="", left=""
                )
            elif event.task in self._tasks:
                self._update(event.task, event)

    def _update(self, task: int, event: Event) -> None:
        rate = self._rates[task]
        done = event.completed or 0.0
        rate.add(event.time, done)
        if event.kind in ("finished", "failed"):
            self._progress.remove_task(self._tasks.pop(task))
            del self._rates[task]
            if rate.seconds(event.time) >= BRIEF or event.kind == "failed":
                style = "dim" if event.kind == "finished" else "red"
                self._progress.console.print(final_line(event, rate), style=style)
            return
        moving = rate.per_second > 0 and done > 0
        left = (event.total - done) / rate.per_second if moving and event.total else None
        shown = amount(done, event.unit) + (f" / {amount(event.total, event.unit)}" if event.total else "")
        self._progress.update(
            self._tasks[task],
            description=event.label,
            completed=done,
            total=event.total,
            amount=shown if done or event.total else "",
            speed=format_rate(rate.per_second, 1.0, event.unit or "") if moving and event.unit else "",
            left=format_duration(left) if left is not None and left >= 1 else "",
        )


class LineSink:
    """Writes tasks as plain lines: one when a task has run for a second, one every ``interval`` seconds, one at the
    end. Brief tasks write nothing, unless they fail."""

    def __init__(self, stream: TextIO | None = None, *, interval: float = 10.0) -> None:
        self._stream = stream or sys.stderr
        self._interval = interval
        self._rates: dict[int, Rate] = {}
        self._shown: dict[int, float] = {}
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            line = self._line(event)
            if line is not None:
                self._stream.write(line + "\n")
                self._stream.flush()

    def _line(self, event: Event) -> str | None:
        task = event.task
        if task is None:
            return event.label if event.kind == "log" and event.values.get("level") != "debug" else None
        if event.kind == "started":
            self._rates[task] = Rate(event.time, event.completed or 0.0)
            return None
        rate = self._rates.get(task)
        if rate is None:
            return None
        done = event.completed or 0.0
        rate.add(event.time, done)
        if event.kind in ("finished", "failed"):
            del self._rates[task]
            self._shown.pop(task, None)
            brief = rate.seconds(event.time) < BRIEF and event.kind == "finished"
            return None if brief else final_line(event, rate)
        due = self._shown[task] + self._interval if task in self._shown else rate.started + BRIEF
        if event.time < due:
            return None
        self._shown[task] = event.time
        share = f" {done / event.total:.0%}" if event.total else ""
        speed = f", {format_rate(rate.per_second, 1.0, event.unit)}" if event.unit else ""
        return f"{event.label}{share} ({amount(done, event.unit)}{speed})"


class Rate:
    """The speed of a task over its last five seconds, and since its start."""

    WINDOW = 5.0

    def __init__(self, start: float, done: float) -> None:
        self.started = start
        self._first = done
        self._samples: list[tuple[float, float]] = [(start, done)]

    def add(self, now: float, done: float) -> None:
        self._samples.append((now, done))
        while len(self._samples) > 2 and now - self._samples[1][0] > self.WINDOW:
            del self._samples[0]

    @property
    def per_second(self) -> float:
        (start, before), (end, after) = self._samples[0], self._samples[-1]
        return (after - before) / (end - start) if end > start else 0.0

    def seconds(self, now: float) -> float:
        """Time since the start."""
        return now - self.started

    def overall(self) -> tuple[float, float]:
        """What was done since the start, and the seconds it took."""
        end, after = self._samples[-1]
        return after - self._first, end - self.started


def final_line(event: Event, rate: Rate) -> str:
    """The line that a task leaves behind: ``✓ pull smollm2 · 259 MiB in 3.1 s · 83.5 MiB/s``."""
    done, seconds = rate.overall()
    mark = "✓" if event.kind == "finished" else "✗"
    parts = [f"{mark} {event.label}"]
    if event.unit and done > 0:
        parts.append(f"{amount(event.completed or 0.0, event.unit)} in {format_duration(seconds)}")
        if seconds >= 0.05:
            parts.append(format_rate(done, seconds, event.unit))
    elif seconds >= 1:
        parts.append(format_duration(seconds))
    return " · ".join(parts)
