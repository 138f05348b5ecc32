"""What the engine needs of a model: a cache made of blocks and a forward pass over a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch

    from llmasos.engine.batch import Batch


@runtime_checkable
class ModelRunner(Protocol):
    """A model that computes batches against a paged cache of keys and values.

    All methods are called from one thread. The layout of the cache is the runner's own business: the engine
    only knows block numbers.
    """

    block_size: int
    """Tokens per cache block."""
    vocabulary_size: int
    """Columns of the logits."""
    context_length: int
    """Longest sequence, prompt and output together, in tokens."""
    bytes_per_block: int
    """Bytes that one block takes over all layers."""
    capabilities: frozenset[str]
    """What the runner can do: ``logits``, ``adapters``, ``hidden_states``, ``steering``, ..."""

    def allocate_cache(self, blocks: int) -> None:
        """Make room for ``blocks`` blocks, numbered from 0. Called once, before the first forward pass.

        Raises:
            OutOfMemory: the machine has less memory than the cache needs.
        """

    def copy_block(self, source: int, target: int) -> None:
        """Copy the keys and values of all layers of one block to another (copy-on-write)."""

    def forward(self, batch: Batch) -> torch.Tensor:
        """Write the keys and values of all rows into the cache and return the logits of the wanted rows.

        Returns:
            (wanted, vocabulary_size) float32 on the CPU or the runner's device. The engine may change it in place,
            and uses it only until the next call.
        """

    def close(self) -> None:
        """Free the cache and the weights; the runner is not used again."""
