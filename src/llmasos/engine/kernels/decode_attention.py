"""Attention of a decoding pass over static shapes: every row has a block table, and nothing depends on the host.

Why gathered pages and ``scaled_dot_product_attention``: it is made of plain operations that a graph captures, needs no
compiler at run time and takes blocks of 16 tokens on every device. FlexAttention would read pages in place, but it is a
prototype that compiles Triton kernels for each shape, and vLLM had trouble capturing it (vLLM issue 19765). The paged
FlashAttention 2 kernel takes blocks of multiples of 256 tokens only (flash-attention issue 828). The price is a copy of
the keys and values that a layer reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmasos.engine.kernels.decoder import BLOCK_SIZE

if TYPE_CHECKING:
    import torch

    from llmasos.engine.kernels.paged_attention import AttentionRule, PagedAttention


@dataclass(frozen=True, slots=True)
class _Span:
    """The keys that rows may see under one window."""

    slots: torch.Tensor
    """(rows, keys) of the cache."""
    allowed: torch.Tensor
    """(rows, 1, keys)."""


class DecodeAttention:
    """One pass: rows at ``positions`` of the sequences whose blocks are in ``tables``.

    Rows may belong to one sequence (a verified draft): keys of all rows are written before any row reads.
    """

    def __init__(
        self, cache: PagedAttention, tables: torch.Tensor, positions: torch.Tensor, windows: Iterable[int]
    ) -> None:
        """Args:
        tables: (rows, columns) int64, physical block of logical block ``i``; beyond a sequence's end a block of its
            own, which is read and not seen.
        positions: (rows,) int64.
        windows: the windows of the model's layers, 0 for none.
        """
        import torch

        self._cache = cache
        offsets = torch.arange(BLOCK_SIZE, device=tables.device)
        first = tables.gather(1, (positions // BLOCK_SIZE)[:, None]) * BLOCK_SIZE
        own = (positions % BLOCK_SIZE)[:, None]
        self._slots = (first + own)[:, 0]
        self._behind = (first + torch.maximum(offsets, own)).flatten()
        self._spans = {window: _span(tables, positions, window) for window in set(windows)}

    def write(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Store (rows, kv heads, dim) of the pass.

        What an earlier owner left behind them in their blocks is cleared: a weight of zero does not undo a NaN.
        """
        count = len(self._behind)
        self._cache.store(layer, self._behind, keys.new_zeros(1, *keys.shape[1:]).expand(count, -1, -1),
                          values.new_zeros(1, *values.shape[1:]).expand(count, -1, -1))  # fmt: skip
        self._cache.store(layer, self._slots, keys, values)

    def attend(self, layer: int, query: torch.Tensor, rule: AttentionRule) -> torch.Tensor:
        """(rows, heads, dim) -> (rows, heads, value dim) float32."""
        span = self._spans[rule.window]
        keys, values = self._cache.load(layer, span.slots)
        return self._cache.combine(query[:, None], keys, values, span.allowed, rule, fused=True)[:, 0]


def _span(tables: torch.Tensor, positions: torch.Tensor, window: int) -> _Span:
    import torch

    columns = tables.shape[1]
    # A window that begins anywhere in a block reaches into one block more than it fills.
    wanted = min(columns, -(-(window - 1) // BLOCK_SIZE) + 1) if window else columns
    offsets = torch.arange(BLOCK_SIZE, device=tables.device)
    keys = torch.arange(wanted * BLOCK_SIZE, device=tables.device)[None]
    if wanted < columns:
        first = ((positions - (window - 1)) // BLOCK_SIZE).clamp(0, columns - wanted)[:, None]
        tables = tables.gather(1, first + torch.arange(wanted, device=tables.device))
        keys = keys + first * BLOCK_SIZE
    allowed = keys <= positions[:, None]
    if window:
        allowed = allowed & (keys > positions[:, None] - window)
    return _Span((tables[:, :, None] * BLOCK_SIZE + offsets).flatten(1), allowed[:, None])
