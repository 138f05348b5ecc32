"""A run as the catalogue knows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from llmasos.i18n import t
from llmasos.runs.process import Process
from llmasos.runs.states import State


@dataclass(frozen=True)
class Failure:
    """Why a run did not succeed.

    Attributes:
        code: of the error class, such as ``out_of_memory``; ``internal_error`` for a defect of the program.
        message: what was wrong.
        hint: what to do next.
    """

    code: str
    message: str
    hint: str | None = None


def lost() -> Failure:
    """Of a run whose worker is gone, in the language of whoever reads it: who noticed may have spoken another."""
    return Failure(
        "lost",
        t("the worker process of the run is gone"),
        t("It was killed, perhaps for want of memory, or the machine went down."),
    )


@dataclass(frozen=True)
class Run:
    """One run at the moment in which it was read.

    Attributes:
        id: such as ``sft-20261126-104512-k3f``.
        kind: the kind of its recipe.
        name: what its user calls it; several runs may have the same name.
        resumable: whether work of this kind can go on where it stopped.
        background: whether a worker may take it from the queue; otherwise whoever made it runs it.
        recipe_folder: what relative paths of the recipe are relative to.
        attempt: how often it was started, and the number of the present attempt.
        created, queued, started, finished: times; ``queued`` and ``started`` are those of the newest attempt.
        heartbeat: the worker's last sign of life.
        stop_requested: when somebody asked it to stop, for the present attempt.
        host: the machine that it is on, and so its folder.
        process: the worker, once there was one.
        result: what the work says of its result.
    """

    id: str
    kind: str
    name: str | None
    state: State
    resumable: bool
    background: bool
    accept_license: bool
    recipe_folder: str
    attempt: int
    created: datetime
    queued: datetime
    spawned: datetime | None
    started: datetime | None
    finished: datetime | None
    heartbeat: datetime | None
    stop_requested: datetime | None
    host: str
    process: Process | None
    exit_code: int | None
    failure: Failure | None
    result: Mapping[str, Any]

    @property
    def can_resume(self) -> bool:
        """Whether it may be started again now, to go on where it stopped."""
        return self.resumable and self.state in (State.FAILED, State.CANCELLED, State.LOST)

    def seconds(self, now: datetime) -> float | None:
        """How long its newest attempt took, or has taken so far."""
        if self.started is None or self.state is State.QUEUED:
            return None
        end = self.finished or (self.heartbeat if self.state is State.LOST else None) or now
        return max((end - self.started).total_seconds(), 0.0)

    @classmethod
    def from_columns(cls, row: Mapping[str, Any]) -> Run:
        """A run from its row in the catalogue."""

        def moment(name: str) -> datetime | None:
            return datetime.fromisoformat(row[name]) if row[name] is not None else None

        process = None
        if row["pid"] is not None:
            process = Process(row["host"], row["place"], row["pid"], row["began"])
        failure = Failure(row["error_code"], row["error"], row["hint"]) if row["error_code"] is not None else None
        if row["state"] == State.LOST.value:
            failure = lost()
        return cls(
            id=row["id"],
            kind=row["kind"],
            name=row["name"],
            state=State(row["state"]),
            resumable=bool(row["resumable"]),
            background=bool(row["background"]),
            accept_license=bool(row["accept_license"]),
            recipe_folder=row["recipe_folder"],
            attempt=row["attempt"],
            created=datetime.fromisoformat(row["created"]),
            queued=datetime.fromisoformat(row["queued"]),
            spawned=moment("spawned"),
            started=moment("started"),
            finished=moment("finished"),
            heartbeat=moment("heartbeat"),
            stop_requested=moment("stop_requested"),
            host=row["host"],
            process=process,
            exit_code=row["exit_code"],
            failure=failure,
            result=json.loads(row["result"]) if row["result"] else {},
        )
