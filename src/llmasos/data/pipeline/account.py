"""The account: what every step did to how many rows, with examples. Accounts of shards add up to that of the corpus."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from llmasos.data.row import JsonValue, Row
from llmasos.data.step import Counts, Rejection

CHANGE_EXAMPLES = 5
REJECTION_EXAMPLES = 3
_CLIP = 2000


def row_key(identity: str, salt: str = "") -> int:
    """A number that is spread evenly over 64 bits and depends on nothing but the row's id and ``salt``."""
    digest = hashlib.blake2b(identity.encode("utf-8"), digest_size=8, key=salt.encode("utf-8")[:64])
    return int.from_bytes(digest.digest(), "big")


class Examples:
    """Keeps the examples with the smallest keys: a random choice that is the same however the rows are divided."""

    def __init__(self, limit: int, entries: Iterable[tuple[int, JsonValue]] = ()) -> None:
        self.limit = limit
        self._heap: list[tuple[int, int, JsonValue]] = []
        self._count = 0
        for key, value in entries:
            self.add(key, value)

    def wants(self, key: int) -> bool:
        """Whether an example with this key would be kept now."""
        return len(self._heap) < self.limit or -self._heap[0][0] > key

    def add(self, key: int, value: JsonValue) -> None:
        self._count += 1
        entry = (-key, self._count, value)
        if len(self._heap) < self.limit:
            heapq.heappush(self._heap, entry)
        elif self.wants(key):
            heapq.heapreplace(self._heap, entry)

    def entries(self) -> list[tuple[int, JsonValue]]:
        return sorted(((-key, value) for key, _, value in self._heap), key=lambda entry: entry[0])


@dataclass
class StepAccount:
    """What one step did. Always: ``rows_in + added == rows_out + sum(rejected.values())``.

    Attributes:
        name: of the step, as in the recipe; ``read`` for the reading of the files.
        added: rows that the step made beyond those it got (repetitions in a mixture).
        changed: rows whose text it changed.
        counts: what else it counted.
    """

    name: str
    rows_in: int = 0
    rows_out: int = 0
    added: int = 0
    changed: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    changes: Examples = field(default_factory=lambda: Examples(CHANGE_EXAMPLES))
    rejections: dict[str, Examples] = field(default_factory=dict)

    @property
    def rows_rejected(self) -> int:
        return sum(self.rejected.values())

    def count(self, counts: Counts) -> None:
        for name, number in counts.items():
            self.counts[name] = self.counts.get(name, 0) + number

    def note_change(self, before: Row, after: Row) -> None:
        self.changed += 1
        key = row_key(before.id)
        if self.changes.wants(key):
            pairs = [
                {"place": place, "before": old[:_CLIP], "after": new[:_CLIP],
                 "clipped": max(len(old), len(new)) > _CLIP}
                for (place, old), (_, new) in zip(before.texts(), after.texts(), strict=True)
                if old != new
            ]  # fmt: skip
            self.changes.add(key, {"id": before.id, "origin": str(before.origin), "texts": pairs[:3]})

    def note_rejection(self, identity: str, origin: str, text: str, rejection: Rejection) -> None:
        self.rejected[rejection.reason] = self.rejected.get(rejection.reason, 0) + 1
        examples = self.rejections.setdefault(rejection.reason, Examples(REJECTION_EXAMPLES))
        key = row_key(identity)
        if examples.wants(key):
            examples.add(
                key,
                {
                    "id": identity,
                    "origin": origin,
                    "text": text[:_CLIP],
                    "clipped": len(text) > _CLIP,
                    "detail": rejection.detail,
                    "related": list(rejection.related[:5]),
                },
            )

    def check(self) -> None:
        """The rows must add up; anything else is a defect."""
        total = self.rows_out + self.rows_rejected
        assert self.rows_in + self.added == total, f"{self.name}: {self.rows_in} + {self.added} rows in, {total} out"

    def merge(self, other: StepAccount) -> None:
        """Add the account of the same step on other rows."""
        assert self.name == other.name
        self.rows_in += other.rows_in
        self.rows_out += other.rows_out
        self.added += other.added
        self.changed += other.changed
        for reason, number in other.rejected.items():
            self.rejected[reason] = self.rejected.get(reason, 0) + number
        self.count(other.counts)
        self.changes = Examples(CHANGE_EXAMPLES, [*self.changes.entries(), *other.changes.entries()])
        for reason, examples in other.rejections.items():
            mine = self.rejections.get(reason)
            entries = [*(mine.entries() if mine is not None else ()), *examples.entries()]
            self.rejections[reason] = Examples(REJECTION_EXAMPLES, entries)

    def as_json(self) -> dict[str, JsonValue]:
        return {
            "name": self.name,
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "added": self.added,
            "changed": self.changed,
            "rejected": dict(sorted(self.rejected.items())),
            "counts": dict(sorted(self.counts.items())),
            "changes": self.changes.entries(),
            "rejections": {reason: item.entries() for reason, item in sorted(self.rejections.items())},
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> StepAccount:
        return cls(
            value["name"],
            value["rows_in"],
            value["rows_out"],
            value["added"],
            value["changed"],
            dict(value["rejected"]),
            dict(value["counts"]),
            Examples(CHANGE_EXAMPLES, [(key, item) for key, item in value["changes"]]),
            {
                reason: Examples(REJECTION_EXAMPLES, [(key, item) for key, item in entries])
                for reason, entries in value["rejections"].items()
            },
        )


def merge_accounts(parts: Iterable[list[StepAccount]]) -> list[StepAccount]:
    """The account of all shards of a stage, step by step."""
    merged: list[StepAccount] = []
    for accounts in parts:
        if not merged:
            merged = [StepAccount(account.name) for account in accounts]
        for mine, other in zip(merged, accounts, strict=True):
            mine.merge(other)
    for account in merged:
        account.check()
    return merged
