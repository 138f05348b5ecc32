"""Counts of what a step did."""

from __future__ import annotations

from llmasos.data.step import NO_COUNTS, Counts


def counted(**counts: int) -> Counts:
    """The counts that are not zero."""
    found = {name: count for name, count in counts.items() if count}
    return found or NO_COUNTS
