"""The shapes that a decoding pass is padded to."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

FIRST_COLUMNS = 8
"""Blocks of the narrowest block table: shorter contexts gain nothing from a shape of their own."""


@dataclass(frozen=True, slots=True, order=True)
class Shape:
    """A pass of ``rows`` rows whose block tables have ``columns`` blocks."""

    rows: int
    columns: int


def doubling(first: int, last: int) -> tuple[int, ...]:
    """``first``, twice that, and so on below ``last``, then ``last``: padding at most doubles a pass."""
    sizes = []
    size = min(first, last)
    while size < last:
        sizes.append(size)
        size *= 2
    return (*sizes, last)


@dataclass(frozen=True, slots=True)
class Buckets:
    """Sizes of the two dimensions, each ascending."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @classmethod
    def up_to(cls, rows: int, columns: int) -> Buckets:
        """1, 2, 4, ... rows and 8, 16, 32, ... blocks, up to and including the largest of each."""
        return cls(doubling(1, rows), doubling(FIRST_COLUMNS, columns))

    def fit(self, rows: int, columns: int) -> Shape | None:
        """The smallest shape that holds a pass; ``None``: no shape does."""
        fitting_rows, fitting_columns = _at_least(self.rows, rows), _at_least(self.columns, columns)
        if fitting_rows is None or fitting_columns is None:
            return None
        return Shape(fitting_rows, fitting_columns)

    def shapes(self) -> list[Shape]:
        """All shapes, those that need least memory first."""
        every = [Shape(rows, columns) for rows in self.rows for columns in self.columns]
        return sorted(every, key=lambda shape: (shape.rows * shape.columns, shape.rows))


def _at_least(sizes: Sequence[int], wanted: int) -> int | None:
    place = bisect_left(sizes, wanted)
    return sizes[place] if place < len(sizes) else None
