"""What one forward pass computes: rows of tokens, and which slice of the rows belongs to which sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(slots=True)
class SequenceSlice:
    """The rows of one sequence in a batch and where its keys and values lie in the cache."""

    start: int
    """First row of this sequence in :attr:`Batch.tokens`."""
    length: int
    """Rows: 1 for a decode step, more for a prefill chunk or with speculated tokens."""
    context: int
    """Tokens of this sequence that are in the cache before this batch."""
    blocks: list[int]
    """Block table: physical block of logical block ``i``; covers ``context + length`` tokens. Read-only."""
    adapter: str | None
    """Adapter to apply to these rows, ``None`` for the base model."""
    sequence_id: int
    """Identity of the sequence while it is alive; never used again in the life of the engine."""
    steering: object | None = None
    """Steering vectors and read-out hooks of the request, handed to the runner as they were given."""


@dataclass(slots=True)
class Batch:
    """One mixed batch: decode slices first, then prefill chunks."""

    tokens: torch.Tensor
    """(rows,) int64: token ids."""
    positions: torch.Tensor
    """(rows,) int64: position of each token in its sequence."""
    sequences: list[SequenceSlice]
    """The slices, in row order and without gaps."""
    logits_rows: torch.Tensor
    """(wanted,) int64: rows whose next-token logits are wanted, ascending."""
