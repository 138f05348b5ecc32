"""Who waits, in order of service, and whose time is up. Used by an inference thread only.

The order is that of :mod:`llmasos.engine.scheduler`: the time of arrival, moved forward by some seconds for each level
of priority, so that nobody waits for ever.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import count
from operator import itemgetter
from typing import Generic, Protocol, TypeVar

_rank = itemgetter(0)


class Queued(Protocol):
    """What a line must know of a request."""

    @property
    def arrival(self) -> float:
        """Moment of its submission, of ``time.monotonic()``."""

    @property
    def deadline(self) -> float | None:
        """Moment after which it ends with what it has."""


QueuedT = TypeVar("QueuedT", bound=Queued)


class WaitingLine(Generic[QueuedT]):
    """Requests in order of service."""

    def __init__(self, aging: float) -> None:
        """``aging``: seconds of head start that one level of priority gives."""
        self._aging = aging
        self._serial = count()
        self._entries: list[tuple[tuple[float, int], QueuedT]] = []
        self._ranks: dict[QueuedT, tuple[float, int]] = {}

    def add(self, item: QueuedT, priority: int) -> None:
        """Queue a request."""
        rank = (item.arrival - priority * self._aging, next(self._serial))
        self._ranks[item] = rank
        insort(self._entries, (rank, item), key=_rank)

    def remove(self, item: QueuedT) -> None:
        """Take a request out, to be served or because it ended. It must be in the line."""
        place = bisect_left(self._entries, self._ranks.pop(item), key=_rank)
        assert self._entries[place][1] is item
        del self._entries[place]

    def __contains__(self, item: QueuedT) -> bool:
        return item in self._ranks

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[QueuedT]:
        return (item for _, item in list(self._entries))


class Deadlines(Generic[QueuedT]):
    """The live requests that have a deadline."""

    def __init__(self) -> None:
        self._timed: set[QueuedT] = set()

    def add(self, item: QueuedT) -> None:
        """Watch a request, if it has a deadline."""
        if item.deadline is not None:
            self._timed.add(item)

    def discard(self, item: QueuedT) -> None:
        """Watch it no longer."""
        self._timed.discard(item)

    def late(self, now: float) -> list[QueuedT]:
        """Those whose moment has come."""
        return [item for item in self._timed if item.deadline is not None and item.deadline <= now]
