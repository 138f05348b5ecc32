"""Guessing passwords is slowed down: after some wrong ones, each further one must wait twice as long."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmasos.errors import TooManyRequests
from llmasos.i18n import t

FREE = 5
"""Wrong ones in a row that cost nothing: people mistype."""
ACCOUNT_CEILING, ADDRESS_CEILING, LOOPBACK_CEILING = 300.0, 900.0, 30.0
_FORGIVEN_SECONDS = 600.0
"""Each time that this passes, one is forgiven: an office behind one address does not pay for its slips for ever."""
_MOST = FREE + 20
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Counted:
    """Somebody or something whose attempts are counted together.

    Attributes:
        ceiling: longest wait in seconds.
    """

    key: str
    ceiling: float


def counted(account: str, address: str) -> list[Counted]:
    """What an attempt counts for.

    What comes from this machine counts for itself: nobody out there can lock its owner out.
    """
    try:
        number = ipaddress.ip_address(address)
    except ValueError:
        return [Counted(f"account {account}", ACCOUNT_CEILING), Counted(f"address {address}", ADDRESS_CEILING)]
    if isinstance(number, ipaddress.IPv6Address) and number.ipv4_mapped is not None:
        number = number.ipv4_mapped
    if number.is_loopback:
        return [Counted("loopback", LOOPBACK_CEILING)]
    # Whoever has one address of IPv6 has all that begin like it.
    network = ipaddress.ip_network((number, 64 if number.version == 6 else 32), strict=False)
    return [Counted(f"account {account}", ACCOUNT_CEILING), Counted(f"address {network}", ADDRESS_CEILING)]


@dataclass(slots=True)
class _Record:
    last: float
    count: int = 0
    until: float = -math.inf


class Attempts:
    """Counts attempts.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def begin(self, all_counted: Sequence[Counted]) -> None:
        """Count an attempt, as a wrong one until :meth:`succeeded` says otherwise: many at once are many.

        Raises:
            TooManyRequests: it has to wait, and was not counted.
        """
        now = self._clock()
        wait = max(self._record(item.key, now).until for item in all_counted) - now
        if wait > 0:
            seconds = math.ceil(wait)
            raise TooManyRequests(
                t("there were too many wrong attempts"), retry_after=wait,
                hint=t("Try again in {seconds} s.", seconds=seconds),
            )  # fmt: skip
        for item in all_counted:
            record = self._record(item.key, now)
            record.count, record.last = min(record.count + 1, _MOST), now
            if record.count >= FREE:
                record.until = now + min(item.ceiling, 2.0 ** (record.count - FREE))
            self._records[item.key] = record
            self._records.move_to_end(item.key)
        while len(self._records) > _REMEMBERED:
            self._records.popitem(last=False)

    def succeeded(self, all_counted: Sequence[Counted]) -> None:
        """The attempt was right: its account starts anew. Its address does not, or whoever has one account could
        guess at others for ever."""
        now = self._clock()
        for item in all_counted:
            if item.key.startswith("address "):
                record = self._record(item.key, now)
                record.count, record.until = max(record.count - 1, 0), now
            else:
                self._records.pop(item.key, None)

    def _record(self, key: str, now: float) -> _Record:
        """What is known of a key; a new record is not kept yet."""
        record = self._records.get(key)
        if record is None:
            return _Record(last=now)
        forgiven = int((now - record.last) // _FORGIVEN_SECONDS)
        record.count, record.last = max(record.count - forgiven, 0), record.last + forgiven * _FORGIVEN_SECONDS
        return record
