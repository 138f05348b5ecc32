"""What a runner asks of a stack of decoder layers, whichever kernels compute it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import torch

    from llmasos.engine.batch import SequenceSlice
    from llmasos.engine.cache_dtype import CacheDtype

Precision = Literal["int8", "int4", "bf16", "fp32"]
PRECISIONS: tuple[Precision, ...] = ("int8", "int4", "bf16", "fp32")
BLOCK_SIZE = 16
MODULES = ("query", "key", "value", "output", "gate", "up", "down")


@dataclass
class LoraFactor:
    """Low-rank change of one projection: ``delta(x) = (x @ a.T) @ b``; the scaling is folded into ``b``.

    ``a``: (rank, depth), ``b``: (rank, columns), both contiguous bfloat16 (native) or the decoder's dtype (torch).
    """

    a: torch.Tensor
    b: torch.Tensor


AdapterLayers = Sequence[dict[str, LoraFactor]]
"""One mapping from module name (:data:`MODULES`) to factor per layer."""


class Decoder(Protocol):
    """Decoder layers with their paged KV cache. All methods are called from one thread."""

    kernels: str
    """Name of the kernels, shown to users: ``native`` or ``torch``."""
    precision: Precision
    cache_dtype: CacheDtype
    weight_bytes: int
    bytes_per_block: int

    def allocate_cache(self, blocks: int) -> None:
        """Zeroed cache of ``blocks`` blocks of :data:`BLOCK_SIZE` tokens; frees an earlier one."""

    def copy_block(self, source: int, target: int) -> None:
        """Copy one block in all layers."""

    def add_adapter(self, name: str, layers: AdapterLayers) -> None:
        """Make a LoRA adapter usable by name."""

    def remove_adapter(self, name: str) -> None:
        """Forget an adapter; no batch may use it afterwards."""

    def start(self, hidden: torch.Tensor, positions: torch.Tensor, slices: Sequence[SequenceSlice]) -> None:
        """Begin a forward pass: ``hidden`` (rows, hidden) float32 is changed in place by :meth:`run_layers`."""

    def run_layers(self, first: int, last: int) -> None:
        """Compute layers ``first`` to ``last`` (exclusive) of the pass begun by :meth:`start`."""

    def attention_weights(self, layer: int, piece: SequenceSlice) -> torch.Tensor:
        """Attention of a slice in the layer computed last: (heads, rows, context + rows) float32."""

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Final norm and logits: (rows, hidden) float32 -> (rows, vocabulary) float32."""

    def close(self) -> None:
        """Free the memory."""
