"""The runs of one library: made, found, changed and removed.

Every change of state is one ``UPDATE`` that names the states and the attempt it starts from, so that of two processes
that want the same change one succeeds and the other learns of it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError as DuplicateKey

from llmasos.errors import InUse
from llmasos.i18n import t
from llmasos.library.catalogue import now_text
from llmasos.library.disk import Ballast, bury, full_disk_as_error, remove_tree, sync_file, sync_folder
from llmasos.library.schema import runs
from llmasos.library.store import Library
from llmasos.runs.naming import find, new_id
from llmasos.runs.outcome import Outcome, read_outcome
from llmasos.runs.process import Process, host_name, this_process
from llmasos.runs.run import Run, lost
from llmasos.runs.states import ACTIVE, State, sources_of

RECIPE = "recipe.yaml"
EVENTS = "events.jsonl"
LOG = "log.txt"
CANCELLED_EXIT = 130  # exit code of work that was asked to stop
_QUEUE_KEY = 0x11A5_06  # PostgreSQL's advisory lock for taking runs, any constant of our own


class RunStore:
    """The runs of a library.

    Args:
        library: whose catalogue has them and in whose home their folders are.
    """

    def __init__(self, library: Library) -> None:
        self.library = library
        self._database = library.catalogue.database

    def folder(self, run: Run | str) -> Path:
        """The folder of a run."""
        return self.library.home / "runs" / (run if isinstance(run, str) else run.id)

    # Questions

    def all(self, *, states: Iterable[State] | None = None) -> list[Run]:
        """All runs, or those in ``states``, the newest first."""
        query = select(runs).order_by(runs.c.created.desc(), runs.c.id)
        if states is not None:
            query = query.where(runs.c.state.in_([str(state) for state in states]))
        with self._database.read() as connection:
            return [Run.from_columns(dict(row)) for row in connection.execute(query).mappings()]

    def get(self, identifier: str) -> Run | None:
        """The run with exactly this id."""
        with self._database.read() as connection:
            row = connection.execute(select(runs).where(runs.c.id == identifier)).mappings().one_or_none()
        return Run.from_columns(dict(row)) if row is not None else None

    def find(self, text: str) -> Run:
        """The run that is meant: by id, by name (the newest of that name), or by the beginning of its id.

        Raises:
            NotFound: there is none; the hint offers near names.
            InvalidRequest: several ids begin like that.
        """
        return find(text, self.all())

    # Making and removing

    def create(
        self,
        kind: str,
        recipe: str,
        *,
        name: str | None = None,
        recipe_folder: Path | None = None,
        resumable: bool = True,
        background: bool = True,
        accept_license: bool = False,
    ) -> Run:
        """A new run, queued.

        Args:
            kind: of the recipe.
            recipe: the resolved recipe as YAML, kept in the run's folder.
            name: what its user calls it.
            recipe_folder: what relative paths of the recipe are relative to; default: the current folder.
            resumable: whether work of this kind can go on where it stopped.
            background: whether a worker may take it from the queue.
            accept_license: whether the person accepts licences that ask for it.

        Raises:
            OutOfDisk: the disk is full.
        """
        identifier = self._new_folder(kind, recipe)
        now = now_text()
        values = {
            "id": identifier,
            "kind": kind,
            "name": name,
            "state": str(State.QUEUED),
            "resumable": int(resumable),
            "background": int(background),
            "accept_license": int(accept_license),
            "recipe_folder": str(recipe_folder or Path.cwd()),
            "attempt": 0,
            "created": now,
            "queued": now,
            "host": host_name(),
        }
        try:
            with self._database.write() as connection:
                connection.execute(insert(runs).values(values))
        except DuplicateKey:  # another machine on this catalogue made the same id, in its own folder
            remove_tree(bury(self.folder(identifier)))
            return self.create(
                kind, recipe, name=name, recipe_folder=recipe_folder, resumable=resumable, background=background,
                accept_license=accept_license,
            )  # fmt: skip
        Ballast(self.library.home / "locks" / "ballast").restore()  # so that its end can be recorded on a full disk
        run = self.get(identifier)
        assert run is not None
        return run

    def _new_folder(self, kind: str, recipe: str) -> str:
        """A folder of its own with the recipe in it; its name is the id. Nobody sees it before the recipe is whole."""
        parent = self.library.home / "runs"
        with full_disk_as_error(self.library.home):
            parent.mkdir(parents=True, exist_ok=True)
            draft = parent / f".new-{secrets.token_hex(8)}"
            draft.mkdir()
            try:
                (draft / RECIPE).write_text(recipe, encoding="utf-8")
                sync_file(draft / RECIPE)
                while True:
                    identifier = new_id(kind)
                    if not (parent / identifier).exists():
                        draft.rename(parent / identifier)
                        break
            except BaseException:
                remove_tree(draft)
                raise
            sync_folder(parent)
        return identifier

    def remove(self, run: Run) -> None:
        """Remove a run and its folder; what it put into the library stays.

        Raises:
            InUse: it is queued or running.
        """
        gone = (
            delete(runs)
            .where(runs.c.id == run.id, runs.c.attempt == run.attempt)
            .where(runs.c.state.not_in([str(state) for state in ACTIVE]))
        )

        def forget() -> int:
            with self._database.write() as connection:
                return connection.execute(gone).rowcount

        if not self.library.freeing(forget):
            raise InUse(
                t("the run {run} is queued or running", run=run.id),
                hint=t("Stop it first: llmasos runs stop {run}", run=run.id),
            )
        if self.folder(run).exists():
            remove_tree(bury(self.folder(run)))

    # Changes of state

    def claim(self, identifier: str, *, limit: int | None = None) -> Run | None:
        """Make this process the worker of a queued run; ``None`` if it is not to be had.

        Args:
            limit: how many runs may be running on this machine, this one included.
        """
        process = this_process()
        now = now_text()
        with self._database.write() as connection:
            _take_turns(connection)
            if limit is not None and _running_here(connection) >= limit:
                return None
            claimed = self._change(
                connection, identifier, State.RUNNING, attempt=None,
                attempts=runs.c.attempt + 1, started=now, finished=None, heartbeat=now, stop_requested=None,
                exit_code=None, error_code=None, error=None, hint=None, host=process.host, place=process.place,
                pid=process.pid, began=process.began,
            )  # fmt: skip
        return self.get(identifier) if claimed else None

    def beat(self, run: Run) -> Run | None:
        """Give a sign of life; the run as it is now, or ``None`` if this attempt is no longer the run's."""
        mine = (runs.c.id == run.id) & (runs.c.attempt == run.attempt)
        with self._database.write() as connection:
            connection.execute(update(runs).where(mine).values(heartbeat=now_text()))
        now = self.get(run.id)
        return now if now is not None and now.attempt == run.attempt and now.state is not State.QUEUED else None

    def finish(self, run: Run, outcome: Outcome) -> bool:
        """Record how an attempt ended; ``False`` if it was no longer the run's attempt, or recorded before."""
        return self.library.freeing(lambda: self._finish(run, outcome))

    def _finish(self, run: Run, outcome: Outcome) -> bool:
        failure = outcome.failure
        with self._database.write() as connection:
            return self._change(
                connection, run.id, outcome.state, attempt=outcome.attempt,
                only=(State.RUNNING, State.LOST),  # not a run that was queued again meanwhile
                finished=now_text(), exit_code=outcome.exit_code,
                error_code=failure.code if failure is not None else None,
                error=failure.message if failure is not None else None,
                hint=failure.hint if failure is not None else None,
                result=json.dumps(dict(outcome.result), ensure_ascii=False),
            )  # fmt: skip

    def requeue(self, run: Run, *, background: bool, accept_license: bool = False) -> bool:
        """Queue a run again, to go on where it stopped; ``False`` if somebody was faster."""
        with self._database.write() as connection:
            return self._change(
                connection, run.id, State.QUEUED, attempt=run.attempt,
                queued=now_text(), spawned=None, background=int(background), stop_requested=None,
                accept_license=int(accept_license or run.accept_license),
            )  # fmt: skip

    def cancel_queued(self, run: Run) -> bool:
        """Cancel a run that no worker has; ``False`` if one has it by now."""
        with self._database.write() as connection:
            return self._change(
                connection, run.id, State.CANCELLED, attempt=run.attempt, only=(State.QUEUED,), finished=now_text()
            )

    def request_stop(self, run: Run) -> bool:
        """Leave word for the worker that the run is to stop; it looks every few seconds."""
        return self._note(run, State.RUNNING, stop_requested=now_text())

    def note_spawned(self, run: Run) -> bool:
        """Note that a worker is being started for a queued run; ``False`` if somebody else does."""
        before = runs.c.spawned.is_(None) if run.spawned is None else runs.c.spawned == run.spawned.isoformat(
            timespec="microseconds"
        )  # fmt: skip
        return self._note(run, State.QUEUED, before, spawned=now_text())

    def reap(self) -> list[Run]:
        """Find running runs whose worker is gone, and record what became of them; the runs that are now lost.

        A worker that died between writing its outcome and telling the catalogue is not lost: its word counts.
        """
        lost = []
        for run in self.all(states=[State.RUNNING]):
            if run.process is not None and run.process.lives(run.heartbeat, datetime.now(UTC)):
                continue
            outcome = read_outcome(self.folder(run), run.attempt)
            if outcome is not None:
                self.finish(run, outcome)
            elif self._lose(run):
                lost.append(run)
        return lost

    def _lose(self, run: Run) -> bool:
        if run.stop_requested is not None:  # it was told to end, and did so before it could say so
            self.finish(run, Outcome(run.attempt, State.CANCELLED, CANCELLED_EXIT))
            return False
        failure = lost()
        with self._database.write() as connection:
            return self._change(
                connection, run.id, State.LOST, attempt=run.attempt, only=(State.RUNNING,), error_code=failure.code,
                error=failure.message, hint=failure.hint,
            )  # fmt: skip

    def _change(
        self,
        connection: Connection,
        identifier: str,
        state: State,
        *,
        attempt: int | None,
        only: tuple[State, ...] | None = None,
        attempts: Any = None,
        **values: Any,
    ) -> bool:
        """Change the state if it is one from which that is allowed, and the attempt is still the same."""
        change = update(runs).where(
            runs.c.id == identifier, runs.c.state.in_([str(before) for before in only or sources_of(state)])
        )
        if attempt is not None:
            change = change.where(runs.c.attempt == attempt)
        if attempts is not None:
            values["attempt"] = attempts
        return connection.execute(change.values(state=str(state), **values)).rowcount == 1

    def _note(self, run: Run, state: State, *conditions: ColumnElement[bool], **values: Any) -> bool:
        change = update(runs).where(runs.c.id == run.id, runs.c.state == str(state), runs.c.attempt == run.attempt)
        with self._database.write() as connection:
            return connection.execute(change.where(*conditions).values(**values)).rowcount == 1


def _take_turns(connection: Connection) -> None:
    """Let nobody else count and claim until this transaction ends. SQLite has one writer at a time anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _QUEUE_KEY})


def _running_here(connection: Connection) -> int:
    query = select(func.count()).select_from(runs)
    here: Process = this_process()
    return connection.execute(query.where(runs.c.state == str(State.RUNNING), runs.c.host == here.host)).scalar_one()
