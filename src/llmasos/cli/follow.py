"""Showing a run while it runs: bars with the newest measures, lines for evaluations and samples."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from llmasos.cli.output import Output
from llmasos.i18n import t
from llmasos.progress import Event, Sink
from llmasos.runs.digest import Digest
from llmasos.runs.events import METRIC_LABEL, EventFile
from llmasos.runs.queue import Queue
from llmasos.runs.run import Run
from llmasos.runs.states import ACTIVE
from llmasos.runs.store import EVENTS, LOG
from llmasos.runs.tail import Tail
from llmasos.units import format_bytes

_PAUSE = 0.3
_SHOWN = 240  # characters of a sample


class WhileWatched:
    """Hands events on until the terminal is gone: work must not end because nobody sees it any more."""

    def __init__(self, shown: Sink) -> None:
        self._shown = shown
        self._gone = False

    def __call__(self, event: Event) -> None:
        if self._gone:
            return
        try:
            self._shown(event)
        except OSError:  # a terminal that was closed, a pipe whose reader ended
            self._gone = True


class RunSink:
    """Turns the events of a run into what a terminal shows, and hands them on.

    The newest measures stand beside the bar of the main work; evaluations, samples and warnings get lines of their own.
    """

    def __init__(self, shown: Sink) -> None:
        self._shown = shown
        self._digest = Digest()
        self._open: dict[int, Event] = {}

    def __call__(self, event: Event) -> None:
        self._digest.add(event)
        if event.kind == "state" and event.label == "running":
            self._close_old()
        if event.task is not None:
            self._task(event, event.task)
        elif event.kind in ("metric", "sample"):
            line = _evaluation(event) if event.kind == "metric" else _sample(event)
            if line:
                self._shown(Event("log", line, time=event.time))
        elif event.kind == "log":
            self._shown(event)

    def _task(self, event: Event, number: int) -> None:
        if event.kind in ("finished", "failed"):
            self._open.pop(number, None)
        else:
            self._open[number] = event
        main = self._digest.task is not None and self._digest.task.task == number
        self._shown(replace(event, label=self._labelled(event.label)) if main else event)

    def _close_old(self) -> None:
        """An attempt that was killed left tasks that nobody ended, whose numbers are used again."""
        for event in self._open.values():
            self._shown(replace(event, kind="failed"))
        self._open.clear()

    def _labelled(self, label: str) -> str:
        digest = self._digest
        parts = [label]
        if (loss := digest.measure("loss")) is not None:
            parts.append(t("loss {value}", value=f"{loss:.4g}"))
        if (speed := digest.measure("tokens_per_second")) is not None:
            parts.append(f"{speed:,.0f} tokens/s")
        if (mfu := digest.measure("mfu")) is not None:
            parts.append(f"MFU {mfu:.0%}")
        if (memory := digest.measure("memory_bytes")) is not None:
            parts.append(format_bytes(memory))
        return " · ".join(parts)


def _evaluation(event: Event) -> str | None:
    """A line for measures of an evaluation; those of each few steps are left to the bar."""
    step = event.values.get("step")
    own = event.label == METRIC_LABEL
    measures = {
        name: value
        for name, value in event.values.items()
        if isinstance(value, float) and (not own or name.startswith("eval_") or "loss" not in event.values)
    }
    if not measures or (own and "loss" in event.values and not any(name.startswith("eval_") for name in measures)):
        return None
    shown = "  ".join(f"{name} {value:.4g}" for name, value in measures.items())
    return t("step {step}: {measures}", step=step, measures=shown)


def _sample(event: Event) -> str:
    def short(text: object) -> str:
        line = " ⏎ ".join(str(text).strip().splitlines())
        return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"

    prompt, output = short(event.values.get("prompt")), short(event.values.get("output"))
    return t("step {step}: {prompt} → {output}", step=event.values.get("step"), prompt=prompt, output=output)


def follow_events(out: Output, queue: Queue, run: Run, shown: Sink) -> Run:
    """Show the events of a run from its beginning until it ends; the run as it is then."""
    sink = RunSink(shown)
    file = EventFile(queue.store.folder(run) / EVENTS)

    def read() -> None:
        for event in file.read():
            sink(event)

    return _until_ended(out, queue, run, read)


def follow_log(out: Output, queue: Queue, run: Run, lines: int | None) -> Run:
    """Print the log of a run, its last ``lines`` first, until it ends; the run as it is then."""
    tail = Tail(queue.store.folder(run) / LOG)
    started = False

    def read() -> None:
        nonlocal started
        new = list(tail.texts())
        for line in new if started or lines is None else new[-lines:] if lines else []:
            out.print(line)
        started = True

    return _until_ended(out, queue, run, read)


def _until_ended(out: Output, queue: Queue, run: Run, read: Callable[[], None]) -> Run:
    waited = False
    while True:
        queue.dispatch()
        run = queue.store.get(run.id) or run
        read()  # after the state, so that what came before the end is not missed
        if run.state not in ACTIVE:
            return run
        if run.attempt == 0 and not waited:
            waited = True
            out.note(t("waiting for a worker; the runs before it come first"))
        time.sleep(_PAUSE)
