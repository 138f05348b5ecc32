"""Memory: large anonymous buffers on huge pages, and giving back what loading needed.

Weights and caches are read end to end every step; small pages cost time.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_ALIGNMENT = 64


def huge_buffer(size: int) -> torch.Tensor:
    """(size,) uint8, zeroed, touched only when used, on huge pages where the system grants them."""
    import torch

    if hasattr(mmap, "MADV_HUGEPAGE"):
        # Private: few systems give huge pages to shared memory, which is what mmap makes of its own accord.
        memory = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.madvise(mmap.MADV_HUGEPAGE)
    else:
        memory = mmap.mmap(-1, max(size, 1))
    return torch.frombuffer(memory, dtype=torch.uint8)[:size]


def release_freed() -> None:
    """Give freed memory back to the system, where the C library (glibc) keeps it for itself otherwise.

    Loading allocates and frees more than a small model takes in the end.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


class Arena:
    """One buffer handed out in aligned pieces."""

    def __init__(self, size: int) -> None:
        self._buffer = huge_buffer(size)
        self._used = 0

    @staticmethod
    def room(size: int) -> int:
        """Bytes that a piece of ``size`` bytes takes, alignment included."""
        return (size + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT

    def take(self, size: int) -> torch.Tensor:
        """The next ``size`` bytes as a uint8 tensor, 64-byte aligned."""
        piece = self._buffer[self._used : self._used + size]
        self._used += self.room(size)
        assert self._used <= self._buffer.numel()
        return piece
