"""Whatever is done to runs in whatever order: only legal changes of state, and the catalogue agrees with a model."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llmasos.errors import InUse
from llmasos.library.store import Library
from llmasos.runs.outcome import Outcome
from llmasos.runs.run import Failure, Run
from llmasos.runs.states import ENDED, TRANSITIONS, State, sources_of
from llmasos.runs.store import RunStore


def test_every_state_can_be_reached_and_success_is_final() -> None:
    reached = {State.QUEUED}
    for _ in State:
        reached |= {after for before in reached for after in TRANSITIONS[before]}
    assert reached == set(State)
    assert TRANSITIONS[State.SUCCEEDED] == frozenset()
    assert set(TRANSITIONS) == set(State)
    for state in State:
        assert all(state in TRANSITIONS[before] for before in sources_of(state))


class Runs(RuleBasedStateMachine):
    """Two programs with stale and fresh views of one run; ``expected`` is what its state must be."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.library = Library(Path(self.folder.name))
        self.store = RunStore(self.library)
        first = self.store.create("count", "kind: count\n")
        self.id = first.id
        self.views: list[Run] = [first]
        self.expected, self.attempt = State.QUEUED, 0

    def teardown(self) -> None:
        self.library.close()
        self.folder.cleanup()

    def current(self) -> Run:
        run = self.store.get(self.id)
        assert run is not None
        return run

    def moved(self, happened: bool, state: State, *, legal: bool) -> None:
        assert happened == legal
        if happened:
            assert state in TRANSITIONS[self.expected], f"{self.expected} -> {state}"
            self.expected = state

    @rule()
    def look(self) -> None:
        self.views.append(self.current())

    @rule()
    def claim(self) -> None:
        run = self.store.claim(self.id)
        legal = self.expected is State.QUEUED
        self.moved(run is not None, State.RUNNING, legal=legal)
        if run is not None:
            self.attempt += 1
            self.views.append(run)

    @rule(data=st.data(), state=st.sampled_from(sorted(ENDED)))
    def finish(self, data: Any, state: State) -> None:
        view = data.draw(st.sampled_from(self.views))
        failure = Failure("x", "broken", None) if state is State.FAILED else None
        happened = self.store.finish(view, Outcome(view.attempt, state, 0, failure))
        legal = view.attempt == self.attempt and self.expected in (State.RUNNING, State.LOST)
        self.moved(happened, state, legal=legal)

    @rule(data=st.data())
    def lose(self, data: Any) -> None:
        view = data.draw(st.sampled_from(self.views))
        happened = self.store._lose(view)
        self.moved(happened, State.LOST, legal=self.expected is State.RUNNING and view.attempt == self.attempt)

    @rule(data=st.data())
    def requeue(self, data: Any) -> None:
        view = data.draw(st.sampled_from(self.views))
        happened = self.store.requeue(view, background=True)
        ended = self.expected in (State.FAILED, State.CANCELLED, State.LOST)
        self.moved(happened, State.QUEUED, legal=ended and view.attempt == self.attempt)

    @rule(data=st.data())
    def cancel_queued(self, data: Any) -> None:
        view = data.draw(st.sampled_from(self.views))
        happened = self.store.cancel_queued(view)
        self.moved(happened, State.CANCELLED, legal=self.expected is State.QUEUED and view.attempt == self.attempt)

    @precondition(lambda self: self.expected in (State.QUEUED, State.RUNNING))
    @rule()
    def remove_is_refused(self) -> None:
        try:
            self.store.remove(self.current())
        except InUse:
            return
        raise AssertionError("a run that is queued or running was removed")

    @invariant()
    def the_catalogue_agrees(self) -> None:
        run = self.current()
        assert (run.state, run.attempt) == (self.expected, self.attempt)


TestRuns = Runs.TestCase
TestRuns.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
