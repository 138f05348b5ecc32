"""Doing the work of a run in this process: how it ends, what is recorded, and what signals do."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from llmasos import progress
from llmasos.errors import InUse, OutOfDisk, Unavailable
from llmasos.library import database
from llmasos.progress import Event
from llmasos.runs import heartbeat
from llmasos.runs.context import RunContext, Stopped
from llmasos.runs.events import EventFile
from llmasos.runs.execution import Done, Finished, execute
from llmasos.runs.run import Run
from llmasos.runs.states import State
from llmasos.runs.store import EVENTS, LOG, RunStore


def claimed(store: RunStore) -> Run:
    run = store.claim(store.create("count", "kind: count\n", background=False).id)
    assert run is not None
    return run


def attempt(store: RunStore, work: Callable[[RunContext], Done], **options: object) -> Finished:
    return execute(store, claimed(store), work, **options)  # type: ignore[arg-type]


def test_work_gives_back_a_value_and_a_summary(store: RunStore) -> None:
    seen: list[Event] = []

    def work(context: RunContext) -> Done:
        assert context.folder.is_dir() and not context.resume
        context.report(step=1, loss=2.0)
        return Done("value", {"n": 1})

    finished = attempt(store, work, sinks=(seen.append,))
    assert (finished.value, finished.run.state, finished.run.result) == ("value", State.SUCCEEDED, {"n": 1})
    assert [event.kind for event in seen] == ["state", "metric", "state"]
    assert "loss=2" in (store.folder(finished.run) / LOG).read_text()


def test_a_resumed_attempt_knows_it(store: RunStore) -> None:
    first = attempt(store, lambda context: Done(cancelled=True))
    assert first.run.state is State.CANCELLED and store.requeue(first.run, background=False)
    again = store.claim(first.run.id)
    assert again is not None
    assert execute(store, again, lambda context: Done(context.resume)).value is True


@pytest.mark.parametrize(
    ("error", "state", "exit_code", "code"),
    [
        (Unavailable("away", hint="wait"), State.FAILED, 5, "unavailable"),
        (ZeroDivisionError("by zero"), State.FAILED, 1, "internal_error"),
        (OSError(errno.ENOSPC, "No space left on device"), State.FAILED, 7, "out_of_disk"),
        (MemoryError("tensor"), State.FAILED, 7, "out_of_memory"),
        (SystemExit(3), State.FAILED, 1, "internal_error"),
        (Stopped(), State.CANCELLED, 130, None),
        (KeyboardInterrupt(), State.CANCELLED, 130, None),
    ],
)
def test_what_is_raised_is_recorded(
    store: RunStore, error: BaseException, state: State, exit_code: int, code: str | None
) -> None:
    def work(context: RunContext) -> Done:
        raise error

    finished = attempt(store, work)
    assert finished.error is error
    run = finished.run
    assert (run.state, run.exit_code, run.failure.code if run.failure else None) == (state, exit_code, code)
    log = (store.folder(run) / LOG).read_text()
    assert ("Traceback" in log) == (state is State.FAILED)


def test_two_processes_never_work_in_one_folder(store: RunStore) -> None:
    run = claimed(store)

    def work(context: RunContext) -> Done:
        assert store.finish(run, _lost_and_found(store, run))
        assert store.requeue(store.find(run.id), background=False)
        second = store.claim(run.id)
        assert second is not None
        with pytest.raises(InUse, match="still works"):
            execute(store, second, lambda context: Done())
        assert store.find(run.id).state is State.FAILED
        return Done()

    execute(store, run, work)
    assert store.find(run.id).attempt == 2, "the first attempt has no say any more"


def _lost_and_found(store: RunStore, run: Run) -> object:
    from llmasos.runs.outcome import Outcome

    return Outcome(run.attempt, State.CANCELLED)


def test_signals_ask_first_and_end_then(store: RunStore) -> None:
    asked: list[bool] = []
    before = signal.getsignal(signal.SIGTERM)

    def gentle(context: RunContext) -> Done:
        os.kill(os.getpid(), signal.SIGTERM)
        asked.append(context.should_stop())
        return Done(cancelled=True)

    assert attempt(store, gentle, on_stop=lambda: asked.append(True)).run.state is State.CANCELLED
    assert asked == [True, True]

    def deaf(context: RunContext) -> Done:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return Done()

    finished = attempt(store, deaf)
    assert isinstance(finished.error, Stopped) and finished.run.state is State.CANCELLED
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_terminal_that_closes_asks_once_however_often_it_says_so(store: RunStore) -> None:
    def work(context: RunContext) -> Done:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
        return Done("saved", cancelled=context.should_stop())

    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests under nohup ignores it
    try:
        finished = attempt(store, work)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert finished.value == "saved" and finished.run.state is State.CANCELLED


def test_outside_the_main_thread_signals_are_left_alone(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "HEARTBEAT", 0.02)
    before = signal.getsignal(signal.SIGTERM)
    run = claimed(store)
    found: list[Finished] = []

    def work(context: RunContext) -> Done:
        assert signal.getsignal(signal.SIGTERM) is before
        assert store.request_stop(run)
        deadline = time.monotonic() + 20
        while not context.should_stop() and time.monotonic() < deadline:
            time.sleep(0.01)
        return Done(context.should_stop(), cancelled=True)

    thread = threading.Thread(target=lambda: found.append(execute(store, run, work)))
    thread.start()
    thread.join()
    assert found[0].value is True, "the word in the catalogue arrived"


def test_signs_of_life_survive_a_catalogue_that_is_locked(
    store: RunStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(heartbeat, "HEARTBEAT", 0.02)
    store.library.close()
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    run = claimed(store)

    def work(context: RunContext) -> Done:
        other = sqlite3.connect(store.library.home / "catalogue.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        time.sleep(0.5)
        other.execute("ROLLBACK")
        other.close()
        unlocked = datetime.now(UTC)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            beat = store.find(run.id).heartbeat
            assert beat is not None
            if beat > unlocked:
                return Done(True)
            time.sleep(0.02)
        return Done(False)

    assert execute(store, run, work).value is True
    assert "no sign of life" in caplog.text
    assert store.find(run.id).state is State.SUCCEEDED


def test_an_outcome_waits_for_a_catalogue_that_is_locked(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.library.close()
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    run = claimed(store)
    other = sqlite3.connect(store.library.home / "catalogue.db", isolation_level=None, check_same_thread=False)

    def work(context: RunContext) -> Done:
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.4, lambda: other.execute("ROLLBACK")).start()
        return Done()

    assert execute(store, run, work).run.state is State.SUCCEEDED
    other.close()


def test_files_that_cannot_be_opened_fail_the_run(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    run = claimed(store)

    def full(path: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("llmasos.runs.execution.JsonLinesSink", full)
    with pytest.raises(OutOfDisk):
        execute(store, run, lambda context: Done())
    failed = store.find(run.id)
    assert failed.state is State.FAILED and failed.failure is not None and failed.failure.code == "out_of_disk"


def test_log_events_are_in_the_log_and_steps_are_not(store: RunStore) -> None:
    def work(context: RunContext) -> Done:
        context.warn("two lines\nof warning")
        with progress.current().task("train", total=2, unit="steps") as task:
            task.update(2)
        context.checkpoint(context.folder / "checkpoints" / "2", step=2, best=True)
        context.artefact(kind="model", name="my/x:latest")
        context.sample(step=2, prompt="a", output="b")
        return Done()

    run = attempt(store, work).run
    log = (store.folder(run) / LOG).read_text()
    for part in ("WARNING", "train: started", "train: finished", "checkpoint checkpoints/2 (best)",
                 "made: model my/x:latest", "step 2: 'a' -> 'b'", "succeeded (attempt 1)"):  # fmt: skip
        assert part in log
    assert "progress" not in log
    assert len(list(EventFile(store.folder(run) / EVENTS).read())) == 9
