"""From records to rows: the layout of the source gives each its sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from llmasos.data.row import Origin, Row
from llmasos.data.sources.plan import Plan
from llmasos.data.sources.read import read_piece
from llmasos.data.sources.record import Broken
from llmasos.data.step import Rejection


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that is no row: broken in the file, or not of the layout. ``raw`` is its text."""

    id: str
    origin: Origin
    raw: str
    rejection: Rejection


def read_shard(plan: Plan, shard: int) -> Iterator[Row | Unreadable]:
    """Everything in the pieces of a shard, in order."""
    for item in plan.shards[shard]:
        source, file, piece = plan.piece(item)
        for record in read_piece(file, piece, source.reading):
            origin = Origin(source.name, file.name, record.line)
            identity = f"{source.name}/{file.name}:{record.line}"
            if isinstance(record, Broken):
                yield Unreadable(identity, origin, record.raw, Rejection(record.reason, record.detail))
                continue
            sample = source.layout.apply(record.fields)
            if isinstance(sample, Rejection):
                raw = orjson.dumps(record.fields, default=str).decode("utf-8")
                yield Unreadable(identity, origin, raw, sample)
                continue
            metadata = {name: record.fields[name] for name in source.metadata if record.fields.get(name) is not None}
            if source.prepared and isinstance(stored := record.fields.get("metadata"), str):
                metadata = {**orjson.loads(stored), **metadata}
            yield Row(identity, origin, sample, metadata)


def planned_rows(plan: Plan) -> Iterator[Row | Unreadable]:
    """Everything in all shards, in order."""
    for shard in range(len(plan.shards)):
        yield from read_shard(plan, shard)
