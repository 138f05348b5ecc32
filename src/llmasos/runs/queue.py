"""The queue: workers are processes of their own, started by whoever queues a run and by workers that end.

No process waits in the background. A worker that ends starts those for the next queued runs; a worker that was killed
cannot, so everything that looks at runs or starts one also calls :func:`dispatch`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from llmasos.errors import InUse, InvalidRequest
from llmasos.i18n import t
from llmasos.library.disk import full_disk_as_error
from llmasos.runs.process import host_name
from llmasos.runs.run import Run
from llmasos.runs.states import ACTIVE, State
from llmasos.runs.store import LOG, RECIPE, RunStore

WORKER = (sys.executable, "-m", "llmasos.worker")
_STARTING = timedelta(seconds=60)  # a worker that has not taken its run by then is thought to have failed
_AT_ONCE = 2.0  # seconds between asking twice, and before a worker that does not end is killed


class Queue:
    """Starts, stops and resumes runs.

    Args:
        store: the runs.
        limit: how many may be running on this machine at the same time.
        worker: the command of a worker, to which the id of a run is added.
    """

    def __init__(self, store: RunStore, *, limit: int, worker: Sequence[str] = WORKER) -> None:
        self.store = store
        self.limit = limit
        self._worker = tuple(worker)

    def dispatch(self) -> list[Run]:
        """Note which workers are gone, and start workers for queued runs as far as the limit allows.

        Returns:
            The runs whose worker turned out to be gone, which are lost now.
        """
        lost = self.store.reap()
        active = self.store.all(states=ACTIVE)
        now = datetime.now(UTC)
        free = self.limit - sum(run.state is State.RUNNING and run.host == host_name() for run in active)
        waiting = [run for run in active if run.state is State.QUEUED and run.background and self._is_here(run)]
        for run in sorted(waiting, key=lambda run: run.queued):
            if free <= 0:
                break
            free -= 1
            starting = run.spawned is not None and now - run.spawned < _STARTING
            if not starting and self.store.note_spawned(run):
                self._start(run)
        return lost

    def resume(self, run: Run, *, background: bool = True, accept_license: bool = False) -> Run:
        """Queue a run again, to go on where it stopped. Call :meth:`dispatch` afterwards if it is for a worker.

        Raises:
            InUse: it is queued or running.
            InvalidRequest: it has succeeded, its kind cannot be resumed, or its folder is not on this machine.
        """
        if run.state in ACTIVE:
            raise InUse(
                t("the run {run} is {state}", run=run.id, state=state_text(run.state)),
                hint=t("Follow it: llmasos runs logs -f {run}", run=run.id),
            )
        if not run.can_resume:
            raise InvalidRequest(
                t("the run {run} cannot be resumed: it is {state}", run=run.id, state=state_text(run.state)),
                hint=t("Start a new one with its recipe: {path}", path=self.store.folder(run) / RECIPE),
            )
        if not self._is_here(run):
            raise InvalidRequest(
                t("the folder of the run {run} is not here but on {host}", run=run.id, host=run.host),
                hint=t("Resume it there."),
            )
        if not self.store.requeue(run, background=background, accept_license=accept_license):
            raise InUse(
                t("another process resumes the run {run}", run=run.id),
                hint=t("Follow it: llmasos runs logs -f {run}", run=run.id),
            )
        return self.store.get(run.id) or run

    def stop(self, run: Run, *, now: bool = False) -> Run:
        """Ask a run to stop; the run as it is then, which may still be running.

        Args:
            now: end it at once, without the checkpoint that it would write otherwise.

        Raises:
            InvalidRequest: it has ended already.
        """
        if run.state is State.QUEUED and self.store.cancel_queued(run):
            return self.store.get(run.id) or run
        run = self.store.get(run.id) or run
        if run.state is not State.RUNNING:
            raise InvalidRequest(
                t("the run {run} has ended: it is {state}", run=run.id, state=state_text(run.state)),
                hint=t("`llmasos runs list` shows what is running."),
            )
        self.store.request_stop(run)
        if run.process is not None and run.process.is_here():
            self._signal(run, now=now)
        return self.store.get(run.id) or run

    def wait(self, run: Run, seconds: float, *, until: Callable[[Run], bool] | None = None) -> Run:
        """The run after it has ended, or ``until`` says so, or after ``seconds``."""
        deadline = time.monotonic() + seconds
        while True:
            self.store.reap()
            run = self.store.get(run.id) or run
            done = run.state not in ACTIVE if until is None else until(run)
            if done or time.monotonic() >= deadline:
                return run
            time.sleep(0.2)

    def _signal(self, run: Run, *, now: bool) -> None:
        self._send(run, signal.SIGTERM)
        if not now:
            return
        for number in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
            if self.wait(run, _AT_ONCE).state is not State.RUNNING:
                return
            self._send(run, number)
        self.wait(run, _AT_ONCE)

    def _send(self, run: Run, number: int) -> None:
        """Send a signal, unless the process is gone and its id may be another's by now."""
        process = run.process
        if process is not None and process.lives(run.heartbeat, datetime.now(UTC)):
            try:
                os.kill(process.pid, number)
            except ProcessLookupError:
                return

    def _is_here(self, run: Run) -> bool:
        return (self.store.folder(run) / RECIPE).exists()

    def _start(self, run: Run) -> None:
        """Start a worker that outlives this process and the terminal; what it prints goes into the run's log."""
        library = self.store.library
        environment = {
            **os.environ,
            "LLMASOS_HOME": str(library.home),
            "LLMASOS_DATABASE": library.database_url,
        }
        with full_disk_as_error(library.home), (self.store.folder(run) / LOG).open("ab") as log:
            process = subprocess.Popen(
                [*self._worker, run.id],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.store.folder(run),
                start_new_session=True,
            )
        # A program that lives on, such as a server, must take note of its end.
        threading.Thread(target=process.wait, name=f"worker {run.id}", daemon=True).start()


def state_text(state: State) -> str:
    """A state in the language in force."""
    return {
        State.QUEUED: t("queued"),
        State.RUNNING: t("running"),
        State.SUCCEEDED: t("succeeded"),
        State.FAILED: t("failed"),
        State.CANCELLED: t("cancelled"),
        State.LOST: t("lost"),
    }[state]
