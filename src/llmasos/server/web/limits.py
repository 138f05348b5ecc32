"""Limits of a key: so many requests, and so many tokens, in a minute."""

from __future__ import annotations

import time
from collections.abc import Callable


class Bucket:
    """A token bucket: holds what may be used at once, and fills up within a minute."""

    __slots__ = ("_clock", "_level", "_per_minute", "_seen")

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._level = float(per_minute)
        self._clock = clock
        self._seen = clock()

    @property
    def per_minute(self) -> int:
        """Its size."""
        return self._per_minute

    def wait_for(self, amount: float) -> float:
        """Seconds until ``amount`` can be taken; 0: now."""
        self._fill()
        missing = min(amount, float(self._per_minute)) - self._level
        return max(0.0, missing * 60.0 / self._per_minute)

    def take(self, amount: float) -> None:
        """Take an amount, also more than is there: what has been used already must be paid back in time."""
        self._fill()
        self._level -= amount

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(float(self._per_minute), self._level + (now - self._seen) * self._per_minute / 60.0)
        self._seen = now
