"""What stands in the row that a body computes now, for hooks that only see its tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_lengths: ContextVar[tuple[int, ...] | None] = ContextVar("document_lengths", default=None)


@contextmanager
def row_of_documents(lengths: tuple[int, ...]) -> Iterator[None]:
    """Inside the block a body computes one row of documents of these lengths."""
    token = _lengths.set(lengths)
    try:
        yield
    finally:
        _lengths.reset(token)


def document_lengths() -> tuple[int, ...] | None:
    """The lengths of the documents in the row; ``None``: rows hold one text each."""
    return _lengths.get()
