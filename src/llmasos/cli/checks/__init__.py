"""What `llmasos doctor` looks at; each module is one section of its report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Problem:
    """Something that is missing or wrong. ``error`` stops work; ``advice`` names what would make it better."""

    severity: Literal["error", "advice"]
    message: str
    command: str | None = None
    """The exact command, or edit, that mends it."""


@dataclass
class Section:
    """One part of the report: facts for people as (name, value) pairs, ``data`` for programs, and problems."""

    key: str
    title: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
