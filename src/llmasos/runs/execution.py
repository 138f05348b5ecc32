"""Doing the work of a run: from a claimed run to its recorded outcome.

The same for a worker process and for a run in the foreground. Meanwhile a thread gives signs of life, signals ask the
work to stop, and everything that is reported goes into the run's files.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmasos import progress
from llmasos.errors import InUse, LLMasOSError, OutOfDisk, Unavailable
from llmasos.i18n import t
from llmasos.library.disk import full_disk_as_error
from llmasos.progress import Event, JsonLinesSink, Sink
from llmasos.runs.context import RunContext, Stopped
from llmasos.runs.heartbeat import Heartbeat
from llmasos.runs.log import LogFile
from llmasos.runs.outcome import Outcome, write_outcome
from llmasos.runs.run import Failure, Run
from llmasos.runs.signals import StopSignals
from llmasos.runs.states import State
from llmasos.runs.store import CANCELLED_EXIT, EVENTS, LOG, RunStore

_RECORD_FOR = 60.0  # seconds in which a busy or full catalogue is asked again to take an outcome

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Done:
    """What work came to.

    Attributes:
        value: for the caller in this process.
        summary: for the catalogue; JSON values.
        cancelled: whether it ended early because it was asked to.
    """

    value: Any = None
    summary: Mapping[str, Any] = field(default_factory=dict)
    cancelled: bool = False


Work = Callable[[RunContext], Done]


@dataclass(frozen=True)
class Finished:
    """A run whose work has ended.

    Attributes:
        run: as the catalogue has it now.
        outcome: how it ended.
        value: what the work gave back; ``None`` unless it did.
        error: what it raised.
    """

    run: Run
    outcome: Outcome
    value: Any = None
    error: BaseException | None = None


def execute(
    store: RunStore,
    run: Run,
    work: Work,
    *,
    sinks: tuple[Sink, ...] = (),
    polls: bool = True,
    on_stop: Callable[[], None] | None = None,
) -> Finished:
    """Do the work of a run that this process has claimed, and record how it ended.

    The first SIGINT or SIGTERM asks the work to stop, the second ends it at once; outside the main thread signals are
    left to whoever owns it. What the work raises is recorded and given back, not raised.

    Args:
        sinks: who else is told what happens, such as the terminal.
        polls: whether the work looks at ``should_stop``; otherwise the first signal ends it with :class:`Stopped`.
        on_stop: called when the work has been asked to stop.

    Raises:
        InUse: another process still works in the run's folder.
        OutOfDisk: the run's files cannot be opened.
    """
    folder = store.folder(run)
    context = RunContext(
        run.id,
        folder,
        resume=run.attempt > 1,
        recipe_folder=Path(run.recipe_folder),
        accept_license=run.accept_license,
    )
    with ExitStack() as opened:
        try:
            opened.enter_context(_folder_lock(run, folder))
            events = _open_events(folder)
            log = opened.enter_context(LogFile(folder / LOG))
        except LLMasOSError as error:
            store.finish(run, _failed(run, error))
            raise
        opened.callback(events.close)
        with progress.reporting(events, log.sink, *sinks) as reporter:
            reporter.emit(_state(State.RUNNING, run))
            with StopSignals(context, polls=polls, on_stop=on_stop) as signals:
                with Heartbeat(store, run, signals.ask):
                    done, raised = _attempt(work, context, signals)
                outcome = _outcome(run, done, raised)
                if raised is not None and outcome.state is State.FAILED:
                    log.failure(raised)
                reporter.emit(_state(outcome.state, run, outcome.failure))
                _record(store, run, outcome)
        lost = events.close()
        if lost:
            log.line(t("{count} events could not be written: the disk was full", count=lost))
    return Finished(store.get(run.id) or run, outcome, done.value, raised)


def _attempt(work: Work, context: RunContext, signals: StopSignals) -> tuple[Done, BaseException | None]:
    try:
        with signals.working():
            return work(context), None
    except BaseException as error:  # noqa: BLE001 - every way to end is recorded, and given back to the caller
        return Done(), error


def _outcome(run: Run, done: Done, error: BaseException | None) -> Outcome:
    if error is None:
        if done.cancelled:
            return Outcome(run.attempt, State.CANCELLED, CANCELLED_EXIT, None, done.summary)
        return Outcome(run.attempt, State.SUCCEEDED, 0, None, done.summary)
    if isinstance(error, Stopped | KeyboardInterrupt):
        return Outcome(run.attempt, State.CANCELLED, CANCELLED_EXIT)
    return _failed(run, error)


def _failed(run: Run, error: BaseException) -> Outcome:
    if isinstance(error, LLMasOSError):
        return Outcome(run.attempt, State.FAILED, error.exit_code, Failure(error.code, error.message, error.hint))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = t("Free some space, then go on: llmasos runs resume {run}", run=run.id)
        return Outcome(run.attempt, State.FAILED, OutOfDisk.exit_code, Failure(OutOfDisk.code, str(error), hint))
    if isinstance(error, MemoryError):
        hint = t("Smaller batches, shorter sequences or a smaller model need less memory.")
        text = t("the memory is used up: {error}", error=error)
        return Outcome(run.attempt, State.FAILED, 7, Failure("out_of_memory", text, hint))
    hint = t("The log has the traceback: llmasos runs logs {run}", run=run.id)
    failure = Failure("internal_error", f"{type(error).__name__}: {error}", hint)
    return Outcome(run.attempt, State.FAILED, 1, failure)


def _state(state: State, run: Run, failure: Failure | None = None) -> Event:
    values: dict[str, float | int | str] = {"attempt": run.attempt}
    if failure is not None:
        values["error"] = failure.message
    return Event("state", str(state), values=values)


def _record(store: RunStore, run: Run, outcome: Outcome) -> None:
    """Tell the catalogue how it ended, and the folder before it in case the catalogue cannot be told."""
    try:
        write_outcome(store.folder(run), outcome)
    except OSError as error:
        _log.warning("outcome.json was not written: %s", error)
    deadline = time.monotonic() + _RECORD_FOR
    while True:
        try:
            if not store.finish(run, outcome):
                _log.warning("the run %s is no longer that of this process", run.id)
            return
        except (Unavailable, OutOfDisk) as error:
            if time.monotonic() >= deadline:
                _log.error("the catalogue was not told how the run ended: %s", error)  # whoever reaps it reads the file
                return
            time.sleep(1.0)


def _open_events(folder: Path) -> JsonLinesSink:
    with full_disk_as_error(folder):
        return JsonLinesSink(folder / EVENTS)


def _folder_lock(run: Run, folder: Path) -> Any:
    """Keep a second process out of the folder, even one on a machine that takes this one for dead."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock", timeout=0, thread_local=False)
    try:
        return lock.acquire()
    except Timeout as error:
        raise InUse(
            t("another process still works on the run {run}", run=run.id),
            hint=t("Wait until it has ended, then try again."),
        ) from error
