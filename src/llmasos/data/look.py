"""A first look at data that nobody has described yet: its files, its records, and what its columns may mean."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from llmasos.data.report.statistics import Measure, MeasureConfig, merge_statistics
from llmasos.data.row import JsonValue, Row
from llmasos.data.sources.config import LibrarySource, Source
from llmasos.data.sources.layout import Layout, TextLayout
from llmasos.data.sources.plan import Plan, SourcePlan, cut_into_shards
from llmasos.data.sources.planning import OWN_COLUMNS, find_source, make_plan
from llmasos.data.sources.read import read_piece
from llmasos.data.sources.recognition import Recognised, recognise
from llmasos.data.sources.record import Broken, Items, Record
from llmasos.data.sources.rows import Unreadable, planned_rows

_SAMPLE = 100
_REMEMBERED = 16
_ONE_SHARD = 1 << 62


@dataclass(frozen=True)
class Look:
    """What one source holds.

    Attributes:
        plan: its files; the layout in it means nothing.
        sample: the fields of its first records.
        columns: of the first records, in their order, those that a preparation adds left out.
        recognised: what the columns mean, if they look like a layout that is known.
    """

    source: Source
    plan: SourcePlan
    sample: tuple[Mapping[str, JsonValue], ...]
    columns: tuple[str, ...]
    recognised: Recognised | None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.plan.files)

    @property
    def layout(self) -> Layout | None:
        """The layout that was given, else that which was recognised."""
        return self.source.layout or (self.recognised.layout if self.recognised is not None else None)

    def records(self, first: int = 0) -> Items:
        """The records from number ``first`` on, counted from 0, and what cannot be read."""
        items = (
            item
            for file in self.plan.files
            for piece in file.pieces
            for item in read_piece(file, piece, self.plan.reading)
        )
        return islice(items, first, None)

    def planned(self, layout: Layout) -> Plan:
        """The plan of a preparation that reads this source by a layout."""
        used = layout.columns() | set(self.plan.metadata) | set(OWN_COLUMNS)
        unused = tuple(name for name in self.columns if name not in used)
        source = self.plan.model_copy(update={"layout": layout, "unused_columns": unused})
        return Plan(sources=(source,), shards=cut_into_shards((source,), _ONE_SHARD))


def look_at(source: Source, folder: Path) -> Look:
    """Look at a source. Every byte is read once, to know the encoding; the newest looks are remembered.

    Args:
        folder: what relative paths are relative to.

    Raises: as :func:`llmasos.data.sources.planning.make_plan`, except for a layout that is not known.
    """
    found = find_source(source, folder)
    stamps = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in found.files]
    key = (source.model_dump_json(exclude={"layout"}), found.reference_digest, tuple(stamps))
    with _lock:
        known = _looks.get(key)
        if known is not None:
            _looks.move_to_end(key)
    if known is None:
        known = _look(source, folder, dict(found.class_names))
        with _lock:
            _looks[key] = known
            while len(_looks) > _REMEMBERED:
                _looks.popitem(last=False)
    return Look(source, known.plan, known.sample, known.columns, known.recognised)


_looks: OrderedDict[Any, Look] = OrderedDict()
_lock = threading.Lock()


def _look(source: Source, folder: Path, class_names: Mapping[str, tuple[str, ...]]) -> Look:
    plan = make_plan([source.model_copy(update={"layout": TextLayout()})], folder, shard_bytes=_ONE_SHARD).sources[0]
    bare = Look(source, plan, (), (), None)
    sample = tuple(islice((item.fields for item in bare.records() if isinstance(item, Record)), _SAMPLE))
    own = OWN_COLUMNS if isinstance(source, LibrarySource) else ()
    columns = tuple(dict.fromkeys(name for fields in sample for name in fields if name not in own))
    return Look(source, plan, sample, columns, recognise(sample, class_names=class_names))


@dataclass(frozen=True)
class Fit:
    """How the records of a source fit a layout.

    Attributes:
        rows: those that are samples, at most as many as were asked for.
        unreadable: examples of those that are not, with the reason.
        good, bad: how many of those looked at are samples and are not; ``reasons`` of the latter.
        complete: whether all records were looked at.
        unused: columns that the layout does not use.
        statistics: of the samples; see :class:`llmasos.data.report.statistics.Measure`.
    """

    rows: tuple[Row, ...]
    unreadable: tuple[Unreadable, ...]
    good: int
    bad: int
    reasons: Mapping[str, int]
    complete: bool
    unused: tuple[str, ...]
    statistics: Mapping[str, Any]


_KEPT_UNREADABLE = 20
_CLOSELY = 500
"""Rows whose language is looked at."""


def fit(look: Look, layout: Layout, *, most: int, kept: int) -> Fit:
    """Read the first records of a source by a layout.

    Args:
        most: records that are looked at.
        kept: samples that are kept to be shown.
    """
    plan = look.planned(layout)
    items = planned_rows(plan)
    measure = Measure(MeasureConfig(rows=min(most, _estimated_records(look)), sample=_CLOSELY))
    rows: list[Row] = []
    unreadable: list[Unreadable] = []
    reasons: Counter[str] = Counter()

    def samples() -> Iterator[Row]:
        for item in islice(items, most):
            if isinstance(item, Row):
                if len(rows) < kept:
                    rows.append(item)
                yield item
                continue
            reasons[item.rejection.reason] += 1
            if len(unreadable) < _KEPT_UNREADABLE:
                unreadable.append(item)

    good = sum(1 for _ in measure.watch(samples()))
    return Fit(
        rows=tuple(rows), unreadable=tuple(unreadable), good=good, bad=reasons.total(),
        reasons=dict(reasons.most_common()), complete=next(items, None) is None, unused=plan.sources[0].unused_columns,
        statistics=merge_statistics([measure.conclude()]),
    )  # fmt: skip


def _estimated_records(look: Look) -> int:
    """About how many records there are, from the size of the first."""
    if not look.sample:
        return 1
    each = sum(len(str(fields)) for fields in look.sample) / len(look.sample)
    return max(int(look.size / max(each, 1)), len(look.sample))


@dataclass(frozen=True)
class Page:
    """Some records in a row: what stands in the file, broken or not. ``more``: whether others follow."""

    items: tuple[Record | Broken, ...]
    first: int
    more: bool


def page(look: Look, first: int, count: int) -> Page:
    """The records from number ``first`` on, counted from 0."""
    shown = list(islice(look.records(first), count + 1))
    return Page(tuple(shown[:count]), first, len(shown) > count)


def count_records(look: Look) -> int:
    """How many records there are, those that cannot be read among them."""
    return sum(1 for _ in look.records())
