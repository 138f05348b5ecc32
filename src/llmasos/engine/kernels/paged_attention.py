"""A paged KV cache and attention over it in plain torch, on any device.

Slots are numbered ``block * BLOCK_SIZE + offset``; a batch's block tables become slot tables once, for all layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from llmasos.engine.kernels.cache_store import VectorStore, hadamard, make_store, vector_bytes
from llmasos.engine.kernels.decoder import BLOCK_SIZE
from llmasos.engine.kernels.fused_attention import FusedPass

if TYPE_CHECKING:
    import torch

    from llmasos.engine.batch import SequenceSlice


@dataclass(frozen=True)
class AttentionRule:
    """How scores become weights in one layer."""

    scale: float
    window: int = 0
    """Keys a query may look back on, itself included; 0: all."""
    softcap: float | None = None
    """Scores become ``softcap * tanh(score / softcap)`` (Gemma 2)."""
    sinks: torch.Tensor | None = None
    """(heads,) logits of a key that takes weight and gives nothing (gpt-oss)."""


class PagedAttention:
    """Keys and values of all layers in a floating type or int8, and the batch at hand."""

    def __init__(
        self, layers: int, kv_heads: int, key_dim: int, value_dim: int, dtype: torch.dtype, device: str
    ) -> None:
        self._layers, self._kv_heads, self._key_dim, self._value_dim = layers, kv_heads, key_dim, value_dim
        self._dtype, self._device = dtype, device
        self._fused = device.startswith("cuda")
        self._in_parts = device == "cpu" and key_dim == value_dim
        self._transform = None if dtype.is_floating_point else hadamard(key_dim, device)
        token = vector_bytes(key_dim, dtype) + vector_bytes(value_dim, dtype)
        self.bytes_per_block = layers * kv_heads * token * BLOCK_SIZE
        self._keys: VectorStore | None = None
        self._values: VectorStore | None = None

    def allocate(self, blocks: int) -> None:
        """Zeroed cache of ``blocks`` blocks."""
        self._keys = self._values = None
        shape = (self._layers, blocks * BLOCK_SIZE, self._kv_heads)
        self._keys = make_store(*shape, self._key_dim, self._dtype, self._device)
        self._values = make_store(*shape, self._value_dim, self._dtype, self._device)

    def copy_block(self, source: int, target: int) -> None:
        """Copy one block in all layers."""
        assert self._keys is not None and self._values is not None
        old, new = (slice(index * BLOCK_SIZE, (index + 1) * BLOCK_SIZE) for index in (source, target))
        self._keys.copy(old, new)
        self._values.copy(old, new)

    def start(self, rows: int, slices: Sequence[SequenceSlice]) -> None:
        """Begin a forward pass over ``rows`` rows."""
        import torch

        self._slices = slices
        slots = torch.empty(rows, dtype=torch.int64)
        self._slots_of: list[torch.Tensor] = []
        offsets = torch.arange(BLOCK_SIZE)
        for piece in slices:
            table = torch.tensor(piece.blocks, dtype=torch.int64)
            own = (table[:, None] * BLOCK_SIZE + offsets).flatten()[: piece.context + piece.length]
            self._slots_of.append(own.to(self._device))
            slots[piece.start : piece.start + piece.length] = own[piece.context :]
        self._slots = slots.to(self._device)
        self._decodes = [index for index, piece in enumerate(slices) if piece.length == 1]
        self._passes: dict[int, FusedPass] = {}
        self._padding: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None

    def _padded(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of the decode rows: padded slots, lengths, and their places in the pass."""
        import torch

        if self._padding is None:
            tables = [self._slots_of[index] for index in self._decodes]
            padded = torch.nn.utils.rnn.pad_sequence(tables, batch_first=True, padding_value=-1)
            # A weight of zero does not undo a NaN: what pads a sequence has to be its own.
            padded = torch.where(padded < 0, padded[:, :1], padded)
            lengths = torch.tensor([len(item) for item in tables], device=self._device)
            rows = torch.tensor([self._slices[index].start for index in self._decodes], device=self._device)
            self._padding = padded, lengths, rows
        return self._padding

    def write(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Store (rows, kv heads, dim) of the batch's rows."""
        self.store(layer, self._slots, keys, values)

    def store(self, layer: int, slots: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Store (rows, kv heads, dim) in slots (rows,)."""
        assert self._keys is not None and self._values is not None
        self._keys.write(layer, slots, self.transformed(keys))
        self._values.write(layer, slots, values)

    def transformed(self, vectors: torch.Tensor) -> torch.Tensor:
        """Queries or keys (..., dim) in the form whose products the cache keeps."""
        return vectors if self._transform is None else vectors.float() @ self._transform

    def load(self, layer: int, slots: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of slots (batch, keys): each (batch, kv heads, keys, dim)."""
        return self._gather(self._keys, layer, slots), self._gather(self._values, layer, slots)

    def attend(self, layer: int, query: torch.Tensor, rule: AttentionRule) -> torch.Tensor:
        """(rows, heads, dim) -> (rows, heads, value dim): one padded product for decode rows, one a longer slice."""
        import torch

        out = torch.empty(*query.shape[:2], self._value_dim, dtype=torch.float32, device=query.device)
        if self._in_parts and rule.softcap is None and rule.sinks is None:
            fused = self._passes.get(rule.window)
            if fused is None:
                group = query.shape[1] // self._kv_heads
                fused = FusedPass(self._slices, self._slots_of, group=group, window=rule.window)
                self._passes[rule.window] = fused
            return fused.attend(self.transformed(query), out, partial(self.load, layer), rule.scale)
        batched = len(self._decodes) > 1
        if batched:
            slots, lengths, decode_rows = self._padded()
            number_of = torch.arange(slots.shape[1], device=self._device)
            allowed = number_of < lengths[:, None]
            if rule.window:
                allowed &= number_of >= lengths[:, None] - rule.window
            rows = query[decode_rows][:, None]
            keys, values = self.load(layer, slots)
            attended = self.combine(rows, keys, values, allowed[:, None], rule, fused=self._fused)
            out[decode_rows] = attended[:, 0]
        for number, piece in enumerate(self._slices):
            if batched and piece.length == 1:
                continue
            rows_of = slice(piece.start, piece.start + piece.length)
            keys, values = self.load(layer, self._slots_of[number][None])
            allowed = self._allowed(piece, rule)
            out[rows_of] = self.combine(query[rows_of][None], keys, values, allowed[None], rule, fused=self._fused)[0]
        return out

    def combine(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        allowed: torch.Tensor,
        rule: AttentionRule,
        *,
        fused: bool,
    ) -> torch.Tensor:
        """Attention of rows to gathered keys and values: (batch, rows, heads, value dim) float32.

        Args:
            query: (batch, rows, heads, dim).
            keys: (batch, kv heads, keys, dim) in the dtype of the cache; ``values`` likewise.
            allowed: (batch, rows, keys), which keys a row sees.
            fused: compute in torch's fused kernels and the dtype of the cache, where they know the rule; else, and
                otherwise, step by step in float32.
        """
        if fused and rule.softcap is None and rule.sinks is None:
            return _grouped_attention(self.transformed(query), keys, values, allowed, rule.scale)
        return _weigh(self._weights(query, keys.float(), allowed, rule), values.float())

    def weights(self, layer: int, sequence_id: int, query: torch.Tensor, rule: AttentionRule) -> torch.Tensor:
        """Attention weights of one slice of the batch: (heads, rows, keys) float32."""
        number = next(i for i, piece in enumerate(self._slices) if piece.sequence_id == sequence_id)
        piece = self._slices[number]
        rows = query[piece.start : piece.start + piece.length][None]
        keys = self._gather(self._keys, layer, self._slots_of[number][None]).float()
        return self._weights(rows, keys, self._allowed(piece, rule)[None], rule)[0].flatten(0, 1)

    def _allowed(self, piece: SequenceSlice, rule: AttentionRule) -> torch.Tensor:
        """(rows, keys): which keys each row of a slice sees."""
        import torch

        last = torch.arange(piece.length, device=self._device)[:, None] + piece.context
        key = torch.arange(piece.context + piece.length, device=self._device)[None]
        allowed = key <= last
        if rule.window:
            allowed &= key > last - rule.window
        return allowed

    @staticmethod
    def _gather(store: VectorStore | None, layer: int, slots: torch.Tensor) -> torch.Tensor:
        """(batch, keys) slots -> (batch, kv heads, keys, dim)."""
        assert store is not None
        return store.read(layer, slots).permute(0, 2, 1, 3)

    def _weights(
        self, query: torch.Tensor, keys: torch.Tensor, allowed: torch.Tensor, rule: AttentionRule
    ) -> torch.Tensor:
        """Softmax of (batch, rows, heads, dim) against (batch, kv heads, keys, dim): (batch, kv, group, rows, keys)."""
        import torch

        batch, rows, _, dim = query.shape
        grouped = self.transformed(query).reshape(batch, rows, self._kv_heads, -1, dim).float()
        scores = torch.einsum("brkgd,bktd->bkgrt", grouped, keys) * rule.scale
        if rule.softcap is not None:
            scores = rule.softcap * torch.tanh(scores / rule.softcap)
        scores = scores.masked_fill(~allowed[:, None, None], float("-inf"))
        if rule.sinks is None:
            return scores.softmax(-1)
        sinks = rule.sinks.float().view(1, self._kv_heads, -1, 1, 1).expand(batch, -1, -1, rows, 1)
        return torch.cat([scores, sinks], -1).softmax(-1)[..., :-1]

    def free(self) -> None:
        """Give the memory back."""
        self._keys = self._values = None


def _grouped_attention(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, allowed: torch.Tensor, scale: float
) -> torch.Tensor:
    """Grouped-query attention by ``scaled_dot_product_attention``; shapes as in :meth:`PagedAttention.combine`.

    The queries of a group become rows of their common key head: its fused kernels take a mask, or groups, not both.
    """
    import torch

    batch, rows, heads, dim = query.shape
    kv_heads, count = keys.shape[1:3]
    group = heads // kv_heads
    folded = query.to(keys.dtype).view(batch, rows, kv_heads, group, dim).transpose(1, 2)
    mask = allowed[:, :, None].expand(-1, -1, group, -1).reshape(batch, 1, rows * group, count)
    out = torch.nn.functional.scaled_dot_product_attention(
        folded.reshape(batch, kv_heads, rows * group, dim), keys, values, attn_mask=mask, scale=scale
    )
    return out.view(batch, kv_heads, rows, group, -1).transpose(1, 2).reshape(batch, rows, heads, -1).float()


def _weigh(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """(batch, kv, group, rows, keys), (batch, kv, keys, dim) -> (batch, rows, heads, dim)."""
    import torch

    out = torch.einsum("bkgrt,bktd->brkgd", weights, values)
    return out.reshape(*out.shape[:2], -1, out.shape[-1])
