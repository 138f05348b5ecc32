"""The states of a run, and which may follow which."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"  # waits for a worker
    RUNNING = "running"  # a worker has it
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"  # stopped because somebody asked
    LOST = "lost"  # its worker is gone without a word: killed, or the machine went down


#: A worker that was taken for lost, such as one on a machine that was cut off, may still say how its run ended.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED}),
    State.RUNNING: frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.LOST}),
    State.LOST: frozenset({State.QUEUED, State.SUCCEEDED, State.FAILED, State.CANCELLED}),
    State.FAILED: frozenset({State.QUEUED}),
    State.CANCELLED: frozenset({State.QUEUED}),
    State.SUCCEEDED: frozenset(),
}

ACTIVE = frozenset({State.QUEUED, State.RUNNING})
ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})


def sources_of(state: State) -> tuple[State, ...]:
    """The states from which ``state`` may be reached."""
    return tuple(before for before, after in TRANSITIONS.items() if state in after)
