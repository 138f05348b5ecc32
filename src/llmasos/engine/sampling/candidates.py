"""The likeliest tokens of many rows without sorting the vocabulary.

Rows are cut into blocks. The ``k`` largest entries of a row lie in the ``k`` blocks with the largest maxima: were one
of them in another block, the ``k`` maxima would all be at least as large as it. So one pass for the maxima (at memory
speed) and a look into ``k`` blocks replace a selection among the vocabulary.

The sampler computes with NumPy on the calling thread only. Its sums are too short to be shared out: a parallel region
saves 0.1 ms on an idle machine and loses tens of milliseconds whenever a core is busy with something else.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BLOCK = 64  # entries per block; entry i of a row is in block i modulo the number of blocks
_LOWEST = np.finfo(np.float32).min

Rows = NDArray[np.float32]
Columns = NDArray[np.int64]


def largest(rows: Rows, k: int) -> tuple[Rows, Columns]:
    """At least the ``k`` largest entries of each row, with all that tie with the k-th.

    Args:
        rows: (rows, columns) logits or chances. ``-inf`` is never among the largest.
        k: how many, from 1 up.

    Returns:
        (rows, n) values, largest first, filled up with ``-inf``, and (rows, n) columns; n is at least 1. A row with
        NaN begins with NaN.
    """
    height, width = rows.shape
    blocks = width // _BLOCK
    if 2 * k >= blocks:
        return _select(rows, k)
    whole = blocks * _BLOCK
    body = rows[:, :whole].reshape(height, _BLOCK, blocks)
    maxima = body.max(axis=1)
    bounds = np.partition(maxima, blocks - k, axis=1)[:, blocks - k]
    np.maximum(bounds, _LOWEST, out=bounds)
    # "not below" instead of "above": NaN must come through.
    row, block = np.nonzero(~(maxima < bounds[:, None]))
    entries = body[row, :, block]
    line, place = np.nonzero(~(entries < bounds[row][:, None]))
    values = entries[line, place]
    columns = place * blocks + block[line]
    row = row[line]
    if width > whole:
        tail_row, tail = np.nonzero(~(rows[:, whole:] < bounds[:, None]))
        values = np.concatenate([values, rows[tail_row, whole + tail]])
        columns = np.concatenate([columns, whole + tail])
        row = np.concatenate([row, tail_row])
        order = np.argsort(row, kind="stable")
        values, columns, row = values[order], columns[order], row[order]
    counts = np.bincount(row, minlength=height)
    slots = np.arange(len(row)) - (counts.cumsum() - counts)[row]
    shape = (height, max(1, int(counts.max())))
    found, where = np.full(shape, -np.inf, dtype=np.float32), np.zeros(shape, dtype=np.int64)
    found[row, slots] = values
    where[row, slots] = columns
    return _ranked(found, where)


def _select(rows: Rows, k: int) -> tuple[Rows, Columns]:
    """The same by selecting in every row; for small vocabularies and large ``k``."""
    width = rows.shape[1]
    if k >= width:
        return _ranked(rows, np.broadcast_to(np.arange(width), rows.shape))
    kth = np.partition(rows, width - k, axis=1)[:, width - k]
    np.maximum(kth, _LOWEST, out=kth)
    kept = ~(rows < kth[:, None])
    size = max(1, int(kept.sum(axis=1).max()))
    where = np.argsort(~kept, axis=1, kind="stable")[:, :size]
    return _ranked(
        np.where(np.take_along_axis(kept, where, 1), np.take_along_axis(rows, where, 1), np.float32(-np.inf)), where
    )


def _ranked(values: Rows, columns: Columns) -> tuple[Rows, Columns]:
    """Sort each row, largest first, NaN before all."""
    order = np.argsort(-values, axis=1, kind="stable")
    broken = np.isnan(values).any(axis=1)
    if broken.any():
        order[broken] = np.argsort(~np.isnan(values[broken]), axis=1, kind="stable")
    row = np.arange(len(values))[:, None]
    return values[row, order], columns[row, order]
