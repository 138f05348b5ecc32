"""A circuit breaker: after failures in a row, calls are refused for a while; then one is let through to see."""

from __future__ import annotations

import time
from collections.abc import Callable


class Circuit:
    """Args:
    failures_to_open: failures in a row after which calls are refused.
    open_seconds: for how long.
    clock: seconds that only grow.
    """

    def __init__(self, failures_to_open: int, open_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._seconds, self._clock = failures_to_open, open_seconds, clock
        self._failures = 0
        self._opened: float | None = None
        self._trying = False

    def closed_in(self) -> float:
        """Seconds for which calls are refused; 0: go ahead. When the time is over, one call alone may go ahead."""
        if self._opened is None:
            return 0.0
        left = self._opened + self._seconds - self._clock()
        if left > 0:
            return left
        if self._trying:
            return self._seconds
        self._trying = True
        return 0.0

    def succeeded(self) -> None:
        """A call went well."""
        self._failures, self._opened, self._trying = 0, None, False

    def failed(self) -> bool:
        """A call failed; whether this opened the circuit."""
        self._failures += 1
        again = self._trying
        self._trying = False
        if again or (self._opened is None and self._failures >= self._limit):
            self._opened = self._clock()
            return True
        return False
