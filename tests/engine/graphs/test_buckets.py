"""Which shape a pass gets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmasos.engine.graphs.buckets import Buckets, Shape, doubling


def test_sizes_double_up_to_the_largest() -> None:
    assert doubling(1, 64) == (1, 2, 4, 8, 16, 32, 64)
    assert doubling(1, 48) == (1, 2, 4, 8, 16, 32, 48)
    assert doubling(8, 5) == (5,)
    assert doubling(1, 1) == (1,)


@given(st.integers(1, 300), st.integers(1, 600), st.data())
def test_the_smallest_shape_that_holds_a_pass(rows: int, columns: int, data: st.DataObject) -> None:
    buckets = Buckets.up_to(rows, columns)
    used_rows = data.draw(st.integers(1, rows))
    used_columns = data.draw(st.integers(1, columns))
    shape = buckets.fit(used_rows, used_columns)
    assert shape is not None and shape in buckets.shapes()
    assert used_rows <= shape.rows < 2 * used_rows or used_rows == shape.rows == 1
    assert used_columns <= shape.columns <= max(8, 2 * used_columns - 1)
    holding = [other for other in buckets.shapes() if other.rows >= used_rows and other.columns >= used_columns]
    assert shape == holding[0], "the smallest comes first"
    assert buckets.fit(rows + 1, 1) is None
    assert buckets.fit(1, columns + 1) is None


def test_shapes_come_with_the_smallest_first() -> None:
    shapes = Buckets.up_to(4, 32).shapes()
    assert shapes[0] == Shape(1, 8) and shapes[-1] == Shape(4, 32)
    assert len(shapes) == len(set(shapes)) == 9
