"""Every test of the sandbox runs once for each isolation that this machine has."""

from __future__ import annotations

import textwrap

import pytest

from llmasos.evaluation.sandbox.isolation import SHUT_IN, why_not
from llmasos.evaluation.sandbox.options import Isolation, Limits, Outcome
from llmasos.evaluation.sandbox.run import run
from sandboxed import SHORT, Execute


@pytest.fixture(params=SHUT_IN, ids=lambda isolation: isolation.value)
def isolation(request: pytest.FixtureRequest) -> Isolation:
    chosen: Isolation = request.param
    reason = why_not(chosen)
    if reason is not None:
        pytest.skip(f"not on this machine: {reason}")
    return chosen


@pytest.fixture
def execute(isolation: Isolation) -> Execute:
    """Runs a program with short limits."""

    def run_it(*parts: str, limits: Limits = SHORT) -> Outcome:
        return run([textwrap.dedent(part) for part in parts], limits, isolation)

    return run_it
