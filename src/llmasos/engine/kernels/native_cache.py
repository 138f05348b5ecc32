"""The paged KV cache of the native kernels: memory that is touched block by block, in one of two formats."""

from __future__ import annotations

from array import array
from ctypes import byref
from typing import TYPE_CHECKING

from llmasos.engine.kernels import native
from llmasos.engine.kernels.decoder import BLOCK_SIZE
from llmasos.engine.kernels.memory import huge_buffer
from llmasos.errors import OutOfMemory
from llmasos.hardware import memory
from llmasos.i18n import t
from llmasos.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from llmasos.engine.architecture import DecoderSpec
    from llmasos.engine.cache_dtype import CacheDtype


class NativeCache:
    """Keys and values as ``cache.h`` lays them out: block by block, each with all layers."""

    def __init__(self, library: native.NativeLibrary, spec: DecoderSpec, dtype: CacheDtype) -> None:
        assert dtype in native.CACHE_TYPES, "the native kernels do not compute in any other"
        self._library = library
        self._layers = len(spec.layers)
        self._kv_heads, self._head_dim = spec.kv_heads, spec.head_dim
        self.type = native.CACHE_TYPES[dtype]
        self._half = spec.kv_heads * library.cache_head_bytes(self.type, spec.head_dim)  # of a layer: keys or values
        self.bytes_per_block = 2 * self._half * self._layers
        self._memory: torch.Tensor | None = None

    def allocate(self, blocks: int) -> None:
        """Zeroed cache of ``blocks`` blocks; frees an earlier one.

        Raises:
            OutOfMemory: there is less memory than the whole cache may come to need.
        """
        needed, available = blocks * self.bytes_per_block, memory().available
        if needed > available:
            raise OutOfMemory(
                t(
                    "a KV cache of {blocks} blocks needs {needed}, {available} are free",
                    blocks=blocks,
                    needed=format_bytes(needed),
                    available=format_bytes(available),
                ),
                needed=needed,
                available=available,
            )
        self._memory = None
        self._memory = huge_buffer(needed).view(blocks, self.bytes_per_block)

    def layer(self, index: int) -> native.LayerCache:
        """Where the kernels find a layer's keys and values."""
        assert self._memory is not None
        keys = self._memory.data_ptr() + 2 * self._half * index
        return native.LayerCache(keys, keys + self._half, self.bytes_per_block)

    def copy_block(self, source: int, target: int) -> None:
        """Copy one block in all layers."""
        assert self._memory is not None
        self._memory[target] = self._memory[source]

    def keys(self, attention: native.Attention, index: int, blocks: Sequence[int], tokens: int) -> torch.Tensor:
        """The first ``tokens`` keys of a block table, (kv heads, tokens, dim); products with queries are scores."""
        import torch

        out = torch.empty(self._kv_heads, tokens, self._head_dim)
        table = array("i", blocks[: -(-tokens // BLOCK_SIZE)])
        layer = self.layer(index)
        self._library.read_keys(byref(attention), byref(layer), table.buffer_info()[0], tokens, out.data_ptr())
        return out

    def free(self) -> None:
        """Give the memory back."""
        self._memory = None
