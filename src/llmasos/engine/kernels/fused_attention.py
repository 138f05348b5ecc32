"""Attention of a pass on a CPU: torch's fused kernel for all of it, and keys that sequences share are read once.

Sequences that begin alike have the same blocks there. Their queries go together over the common keys, and each over its
own; the two parts are put together by their log-sum-exp (Juravsky et al., "Hydragen", 2024). Without that, a pass would
copy the common keys once for every sequence, and multiply small matrices instead of a large one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmasos.engine.kernels.decoder import BLOCK_SIZE

if TYPE_CHECKING:
    import torch

    from llmasos.engine.batch import SequenceSlice

Load = Callable[["torch.Tensor"], "tuple[torch.Tensor, torch.Tensor]"]
"""(batch, keys) slots -> keys and values, each (batch, kv heads, keys, dim)."""

LEAST_SHARED_BLOCKS = 4
"""Fewer are not worth a part of their own."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows that are computed together.

    Attributes:
        rows: (batch * queries,) rows of the pass; sequences are the batch.
        slots: (batch, keys) of the cache.
        mask: (batch, 1, queries * group, keys) added to scores; ``None``: every query sees every key.
    """

    rows: torch.Tensor
    slots: torch.Tensor
    mask: torch.Tensor | None = None


class FusedPass:
    """The attention of one pass under one window.

    Args:
        slices: of the pass.
        slots: of each slice, (context + length,).
        group: query heads for each key head.
        window: keys a query may look back on, itself included; 0: all.
    """

    def __init__(
        self, slices: Sequence[SequenceSlice], slots: Sequence[torch.Tensor], *, group: int, window: int
    ) -> None:
        import torch

        self._own: list[_Part] = []
        self._common: list[_Part] = []
        skipped = [0] * len(slices)  # keys of each slice that a common part has
        for members, blocks in [] if window else _alike(slices):
            shared = blocks * BLOCK_SIZE
            rows = torch.cat([_rows(slices[member]) for member in members])
            self._common.append(_Part(rows, slots[members[0]][None, :shared]))
            for member in members:
                skipped[member] = shared
        decodes: dict[int, list[int]] = {}
        for number, piece in enumerate(slices):
            if piece.length == 1:
                decodes.setdefault(skipped[number], []).append(number)
            else:
                self._own.append(_reading(piece, slots[number], group, window, skipped[number]))
        for shared, numbers in decodes.items():
            self._own.append(_decoding(slices, slots, numbers, group, window, shared))

    def attend(self, query: torch.Tensor, out: torch.Tensor, load: Load, scale: float) -> torch.Tensor:
        """Attention of all rows.

        Args:
            query: (rows, heads, dim), in the form that the cache keeps keys in.
            out: (rows, heads, value dim) float32, which is filled and returned.
        """
        sums = out.new_empty(out.shape[:2])
        for part in self._own:
            out[part.rows], sums[part.rows] = _attend(part, query, load, scale)
        for part in self._common:
            before, before_sums = _attend(part, query, load, scale)
            share = (before_sums - sums[part.rows]).sigmoid()[..., None]
            out[part.rows] = out[part.rows].lerp(before, share)
        return out


def _alike(slices: Sequence[SequenceSlice]) -> list[tuple[list[int], int]]:
    """Slices whose sequences begin alike, and how many blocks they share before what is written now."""
    groups: dict[int, list[int]] = {}
    for number, piece in enumerate(slices):
        if piece.context >= LEAST_SHARED_BLOCKS * BLOCK_SIZE:
            groups.setdefault(piece.blocks[0], []).append(number)
    found = []
    for members in groups.values():
        shared = 0
        first = slices[members[0]].blocks
        most = min(slices[member].context // BLOCK_SIZE for member in members)
        others = [slices[member].blocks for member in members[1:]]
        while others and shared < most and all(table[shared] == first[shared] for table in others):
            shared += 1
        if shared >= LEAST_SHARED_BLOCKS:
            found.append((members, shared))
    return found


def _rows(piece: SequenceSlice) -> torch.Tensor:
    import torch

    return torch.arange(piece.start, piece.start + piece.length)


def _decoding(
    slices: Sequence[SequenceSlice], slots: Sequence[torch.Tensor], numbers: Sequence[int], group: int, window: int,
    skipped: int,
) -> _Part:  # fmt: skip
    """One query of each of some sequences, without their first ``skipped`` keys."""
    import torch

    own = [slots[number][skipped:] for number in numbers]
    lengths = torch.tensor([len(table) for table in own])
    padded = torch.nn.utils.rnn.pad_sequence(own, batch_first=True, padding_value=-1)
    # A weight of zero does not undo a NaN: what pads a sequence has to be its own.
    padded = torch.where(padded < 0, padded[:, :1], padded)
    place = torch.arange(padded.shape[1])
    allowed = place < lengths[:, None]
    if window:
        allowed &= place >= lengths[:, None] - window
    mask = None if bool(allowed.all()) else _mask(allowed[:, None], group)
    return _Part(torch.tensor([slices[number].start for number in numbers]), padded, mask)


def _reading(piece: SequenceSlice, slots: torch.Tensor, group: int, window: int, skipped: int) -> _Part:
    """Several queries of one sequence, each of which sees what is before it, without the first ``skipped`` keys."""
    import torch

    last = torch.arange(piece.length)[:, None] + piece.context
    key = torch.arange(skipped, piece.context + piece.length)[None]
    allowed = key <= last
    if window:
        allowed &= key > last - window
    return _Part(_rows(piece), slots[None, skipped:], _mask(allowed[None], group))


def _mask(allowed: torch.Tensor, group: int) -> torch.Tensor:
    """(batch, queries, keys) of bool -> (batch, 1, queries * group, keys) that is added to scores."""
    import torch

    mask = torch.zeros(allowed.shape).masked_fill_(~allowed, float("-inf"))
    return mask.repeat_interleave(group, 1)[:, None]


def _attend(part: _Part, query: torch.Tensor, load: Load, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of a part, and the logarithm of the sum of the exponentials of its scores.

    Args:
        query: (rows, heads, dim) of the whole pass.

    Returns:
        (rows of the part, heads, value dim), (rows of the part, heads).
    """
    import torch

    keys, values = load(part.slots)
    batch, kv_heads = keys.shape[:2]
    own = query[part.rows]
    count, heads, dim = own.shape
    queries, group = count // batch, heads // kv_heads
    # The queries of a group become rows of their common key head: the kernel takes a mask, or groups, not both.
    folded = own.float().view(batch, queries, kv_heads, group, dim).transpose(1, 2)
    found, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        folded.reshape(batch, kv_heads, queries * group, dim), keys.float(), values.float(), 0.0, False,
        attn_mask=part.mask, scale=scale,
    )  # fmt: skip
    found = found.view(batch, kv_heads, queries, group, -1).transpose(1, 2).reshape(count, heads, -1)
    return found, sums.view(batch, kv_heads, queries, group).transpose(1, 2).reshape(count, heads)
