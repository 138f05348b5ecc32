"""Models by tasks: one column for each table of the leaderboard, one row for each model as it was run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from llmasos.evaluation.leaderboard import Place, Table
from llmasos.evaluation.result import Evaluation
from llmasos.studio.evaluation.sections import is_made_up, model_facts

BY_MODEL = -1
"""Sorted by the names of the models."""


@dataclass(frozen=True)
class Row:
    """A model as it was run, with its place in each column."""

    model: str
    variant: str
    """By what it differs from other rows of the model: ``dtype int8``; else empty."""
    places: dict[int, Place] = field(default_factory=dict)


@dataclass(frozen=True)
class Board:
    """All of it."""

    columns: tuple[Table, ...]
    rows: tuple[Row, ...]


def board(tables: Sequence[Table], *, text: str = "", task: str | None = None, made_up: bool = True) -> Board:
    """The rows and columns that a person wants to see.

    Args:
        text: models whose name or variant has this.
        task: this column's alone.
        made_up: whether runs on made-up rows are there.
    """
    columns = tuple(
        table
        for table in tables
        if task in (None, table.task) and (made_up or not is_made_up(table.places[0].evaluation))
    )
    rows: dict[object, Row] = {}
    for number, table in enumerate(columns):
        for place in table.places:
            facts = model_facts(place.evaluation)
            identity = (place.model_digest or place.model, tuple(sorted(facts.items())))
            rows.setdefault(identity, Row(place.model, "")).places[number] = place
    named = [Row(row.model, _variant(row, rows.values()), row.places) for row in rows.values()]
    wanted = text.strip().lower()
    kept = [row for row in named if wanted in f"{row.model} {row.variant}".lower()]
    return Board(columns, tuple(kept))


def ordered(board: Board, column: int, *, best_first: bool = True) -> list[Row]:
    """The rows by the score in a column, or by name (:data:`BY_MODEL`); rows without a score come last."""
    by_name = sorted(board.rows, key=lambda row: (row.model.lower(), row.variant), reverse=not best_first)
    if column == BY_MODEL:
        return by_name

    def goodness(row: Row) -> float:
        entry = row.places[column].entry
        return entry.value if entry.higher_is_better else -entry.value

    known = [row for row in by_name if column in row.places and math.isfinite(row.places[column].entry.value)]
    return [*sorted(known, key=goodness, reverse=best_first), *(row for row in by_name if row not in known)]


def _facts(row: Row) -> dict[str, str]:
    return model_facts(_any(row))


def _any(row: Row) -> Evaluation:
    return next(iter(row.places.values())).evaluation


def _variant(row: Row, rows: Iterable[Row]) -> str:
    """The facts by which a row differs from others of the same name; else the beginning of the digest, where two
    versions have had the name."""
    others = [other for other in rows if other.model == row.model and other is not row]
    own = _facts(row)
    differing = [
        f"{name} {value}" for name, value in own.items() if any(_facts(other).get(name) != value for other in others)
    ]
    digest = _any(row).model_digest
    if digest is not None and any(_any(other).model_digest != digest for other in others):
        differing.append(digest.removeprefix("sha256:")[:12])
    return ", ".join(differing)
