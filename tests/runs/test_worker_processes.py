"""Worker processes: queued, followed, stopped, killed and gone on with."""

from __future__ import annotations

import json
import os
import signal
from itertools import pairwise
from pathlib import Path

import pytest

from llmasos.runs.events import EventFile
from llmasos.runs.queue import Queue
from llmasos.runs.run import Run
from llmasos.runs.store import EVENTS, LOG, RunStore
from runs.conftest import Wait
from runs.counting_worker import recipe

pytestmark = pytest.mark.integration  # many processes


def steps(store: RunStore, run: Run) -> list[int]:
    events = EventFile(store.folder(run) / EVENTS)
    found = [int(event.values["step"]) for event in events.read() if event.kind == "metric"]
    assert events.damaged == []
    return found


def reached(store: RunStore, step: int) -> Wait:
    """Whether the work of a run has come to a step."""

    def check(run: Run) -> bool:
        saved = store.folder(run) / "count.json"
        return saved.exists() and json.loads(saved.read_text()) >= step

    return check


def test_a_run_succeeds(store: RunStore, queue: Queue, wait: Wait) -> None:
    run = store.create("count", recipe(steps=3, pause=0), name="first")
    queue.dispatch()
    done = wait(run, "succeeded")
    assert (done.exit_code, done.failure, done.attempt, done.result) == (0, None, 1, {"counted": 3, "from": 0})
    assert steps(store, run) == [1, 2, 3]
    events = list(EventFile(store.folder(run) / EVENTS).read())
    assert [event.label for event in events if event.kind == "state"] == ["running", "succeeded"]
    assert "succeeded (attempt 1)" in (store.folder(run) / LOG).read_text()
    assert done.started is not None and done.finished is not None and done.started <= done.finished


def test_a_failure_is_recorded_with_its_hint_and_traceback(store: RunStore, queue: Queue, wait: Wait) -> None:
    run = store.create("count", recipe(fail_at=2, pause=0))
    queue.dispatch()
    done = wait(run, "failed")
    assert done.failure is not None and done.exit_code == 2
    assert (done.failure.code, done.failure.message, done.failure.hint) == (
        "invalid_recipe", "cannot count further", "count less",
    )  # fmt: skip
    assert "Traceback" in (store.folder(run) / LOG).read_text()
    assert done.can_resume
    queue.resume(done)
    queue.dispatch()
    assert wait(run, "succeeded").result == {"counted": 20, "from": 1}


def test_a_kind_that_nobody_can_do_fails(store: RunStore, queue: Queue, wait: Wait) -> None:
    run = store.create("dance", "kind: dance\n")
    queue.dispatch()
    done = wait(run, "failed")
    assert done.failure is not None and "dance" in done.failure.message


def test_a_killed_worker_leaves_a_lost_run_that_goes_on(store: RunStore, queue: Queue, wait: Wait) -> None:
    run = store.create("count", recipe(steps=30))
    queue.dispatch()
    running = wait(run, until=reached(store, 3))
    assert running.process is not None
    os.kill(running.process.pid, signal.SIGKILL)
    lost = wait(run, "lost")
    assert lost.failure is not None and lost.failure.code == "lost" and lost.can_resume
    queue.resume(lost)
    queue.dispatch()
    done = wait(run, "succeeded")
    assert done.attempt == 2 and done.result["from"] >= 3
    assert sorted({*steps(store, run)}) == list(range(1, 31)), "nothing that was reported is missing"
    assert done.failure is None


def test_a_stop_saves_and_cancels(store: RunStore, queue: Queue, wait: Wait) -> None:
    run = store.create("count", recipe(steps=10_000))
    queue.dispatch()
    running = wait(run, until=reached(store, 2))
    queue.stop(running)
    stopped = wait(run, "cancelled")
    assert stopped.exit_code == 130 and stopped.can_resume and stopped.failure is None
    assert steps(store, run)[-1] == json.loads((store.folder(run) / "count.json").read_text())


def test_a_second_signal_ends_it_at_once(store: RunStore, queue: Queue, wait: Wait) -> None:
    run = store.create("count", recipe(steps=10_000, deaf=True))
    queue.dispatch()
    running = wait(run, until=reached(store, 1))
    assert queue.stop(running).state == "running", "deaf work goes on after the first"
    queue.stop(running, now=True)
    assert wait(run, "cancelled").exit_code == 130


def test_work_that_does_not_look_ends_where_it_stands(store: RunStore, queue: Queue, wait: Wait) -> None:
    run = store.create("plod", recipe(kind="plod", pause=60))
    queue.dispatch()
    running = wait(run, until=lambda now: now.state == "running" and (store.folder(now) / EVENTS).exists())
    wait(running, until=lambda now: "count: started" in (store.folder(now) / LOG).read_text())
    queue.stop(running)
    assert wait(run, "cancelled").can_resume


def test_word_left_in_the_catalogue_stops_a_run_on_another_machine(store: RunStore, queue: Queue, wait: Wait) -> None:
    run = store.create("count", recipe(steps=10_000))
    queue.dispatch()
    running = wait(run, until=reached(store, 1))
    assert store.request_stop(running)  # and no signal
    wait(run, "cancelled")


def test_the_queue_keeps_to_its_limit_and_to_the_order(store: RunStore, queue: Queue, wait: Wait) -> None:
    made = [store.create("count", recipe(steps=8), name=str(number)) for number in range(3)]
    for _ in range(3):
        queue.dispatch()  # asking often starts no more
    wait(made[0], until=reached(store, 1))
    assert [store.find(run.id).state for run in made[1:]] == ["queued", "queued"]
    ended = [wait(run, "succeeded") for run in made]  # each worker that ends starts the next
    begun = [run.started for run in ended]
    assert begun == sorted(begun)  # type: ignore[type-var]
    assert all(before.finished <= after.started for before, after in pairwise(ended))  # type: ignore[operator]


def test_a_killed_worker_does_not_hold_up_the_queue(store: RunStore, queue: Queue, wait: Wait) -> None:
    first = store.create("count", recipe(steps=10_000))
    second = store.create("count", recipe(steps=2, pause=0))
    queue.dispatch()
    running = wait(first, until=reached(store, 1))
    assert running.process is not None
    os.kill(running.process.pid, signal.SIGKILL)
    wait(first, "lost")
    queue.dispatch()
    wait(second, "succeeded")


def test_a_queued_run_is_cancelled_without_a_worker(store: RunStore, queue: Queue) -> None:
    run = store.create("count", recipe())
    assert queue.stop(run).state == "cancelled"
    assert queue.dispatch() == [] and not (store.folder(run) / LOG).exists()


def test_workers_see_the_library_of_the_queue_alone(store: RunStore, queue: Queue, wait: Wait, tmp_path: Path) -> None:
    from llmasos.library.store import Library

    other = Library(tmp_path / "elsewhere")
    elsewhere = RunStore(other)
    run = elsewhere.create("count", recipe(steps=1, pause=0))
    there = Queue(elsewhere, limit=1, worker=queue._worker)
    there.dispatch()
    assert there.wait(run, 60).state == "succeeded"
    assert store.all() == []
    other.close()
