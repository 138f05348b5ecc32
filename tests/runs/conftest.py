"""Runs in a temporary library, and a queue whose workers count."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmasos.library.store import Library
from llmasos.runs.queue import Queue
from llmasos.runs.run import Run
from llmasos.runs.states import ACTIVE
from llmasos.runs.store import RunStore
from runs.counting_worker import COMMAND


@pytest.fixture
def store(home: Path) -> Iterator[RunStore]:
    library = Library(home)
    yield RunStore(library)
    library.close()


@pytest.fixture
def queue(store: RunStore) -> Iterator[Queue]:
    queue = Queue(store, limit=1, worker=COMMAND)
    yield queue
    for run in store.all(states=ACTIVE):  # nothing may outlive a failed test
        store.cancel_queued(run)
        if run.process is not None and run.process.is_here() and run.process.pid != os.getpid():
            try:
                os.kill(run.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


Wait = Callable[..., Run]


@pytest.fixture
def wait(queue: Queue) -> Wait:
    """``wait(run, "running")``: the run once it is in that state, or once ``until`` holds of it."""

    def until(run: Run, state: str | None = None, *, until: Callable[[Run], bool] | None = None) -> Run:
        check = until or (lambda now: state is None or now.state == state)
        found = queue.wait(run, 60, until=check)
        assert check(found), f"{found}\n{(queue.store.folder(run) / 'log.txt').read_text()}"
        return found

    return until
