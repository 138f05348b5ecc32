"""Choosing an isolation, and many programs at a time."""

from __future__ import annotations

import shutil

import pytest

from llmasos.errors import Unsupported
from llmasos.evaluation.sandbox import isolation as isolations
from llmasos.evaluation.sandbox import process
from llmasos.evaluation.sandbox.isolation import SHUT_IN, available, choose, why_not
from llmasos.evaluation.sandbox.options import Isolation, Limits, OutcomeStatus
from llmasos.evaluation.sandbox.run import run_all

pytestmark = pytest.mark.integration  # many processes

PASSED = OutcomeStatus.PASSED


@pytest.fixture
def untried() -> None:
    why_not.cache_clear()


def test_something_shuts_programs_in_here() -> None:
    """On a machine on which nothing does, the tests of this folder would all be skipped: that must be seen."""
    assert None in available().values(), available()


def test_auto_takes_the_first_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolations, "why_not", lambda it: None if it is Isolation.SECCOMP else "because")
    assert choose() is Isolation.SECCOMP
    assert choose(Isolation.SECCOMP) is Isolation.SECCOMP


def test_nothing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolations, "why_not", lambda it: f"{it.value} is off")
    with pytest.raises(
        Unsupported, match="bubblewrap is off; namespaces: namespaces is off; seccomp: seccomp is off"
    ) as error:
        choose()
    assert error.value.hint is not None
    assert "bubblewrap" in error.value.hint
    with pytest.raises(Unsupported, match="cannot be shut in"):
        next(run_all(["x = 1"]))


def test_no_isolation_must_be_told() -> None:
    assert Isolation.NONE not in SHUT_IN
    assert choose(Isolation.NONE) is Isolation.NONE


def test_bubblewrap_that_is_not_there(monkeypatch: pytest.MonkeyPatch, untried: None) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert why_not(Isolation.BUBBLEWRAP) == "bwrap is not installed"


def test_an_isolation_that_lets_through_is_refused(monkeypatch: pytest.MonkeyPatch, untried: None) -> None:
    """The trial is a real program: were the file system open, it would be seen."""
    execute = process.execute

    def open_wide(parts: tuple[str, ...], limits: Limits, isolation: Isolation) -> object:
        return execute(parts, limits, Isolation.NONE)

    monkeypatch.setattr(process, "execute", open_wide)
    reason = why_not(Isolation.NAMESPACES)
    why_not.cache_clear()
    assert reason is not None
    assert "could be done in the sandbox: read_a_file_outside" in reason


def test_another_processor(monkeypatch: pytest.MonkeyPatch, untried: None) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    reason = why_not(Isolation.SECCOMP)
    why_not.cache_clear()
    assert reason == "the processor is riscv64; known are x86_64, aarch64"


def test_a_sandbox_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails before the program is an error of ours, not a wrong answer."""
    chosen = choose()
    monkeypatch.setattr(process, "readable", lambda: ("/there/is/no/such/folder",))
    if chosen is Isolation.BUBBLEWRAP:
        monkeypatch.setattr("llmasos.evaluation.sandbox.commands.readable", lambda: ("/there/is/no/such/folder",))
    outcome = process.execute(("x = 1",), Limits(seconds=2), chosen)
    assert outcome.status is OutcomeStatus.ERROR
    assert "/there/is/no/such/folder" in outcome.stderr


def test_many_programs_keep_their_order() -> None:
    programs = [f"import time\ntime.sleep({0.02 * (5 - number % 5)})\nprint({number})" for number in range(20)]
    outcomes = list(run_all(programs, workers=4))
    assert [outcome.stdout for outcome in outcomes] == [f"{number}\n" for number in range(20)]
    assert {outcome.status for outcome in outcomes} == {PASSED}
