"""What the tests of the sandbox share."""

from __future__ import annotations

from collections.abc import Callable

from llmasos.evaluation.sandbox.options import Limits, Outcome

Execute = Callable[..., Outcome]
"""Runs the parts of a program in the isolation of the test."""

SHORT = Limits(seconds=1, memory=256, wall_seconds=2)
