"""The pool of cache blocks: which are free and which are taken."""

from __future__ import annotations

from collections.abc import Iterable


class BlockPool:
    """Hands out block numbers; knows nothing of what is in a block.

    A taken block has exactly one owner: a sequence while the block is being filled, then the radix tree. Sharing
    happens in the tree alone, whose nodes count the sequences that use them (:mod:`llmasos.engine.radix`).
    """

    def __init__(self, blocks: int) -> None:
        if blocks < 1:
            raise ValueError(f"a pool needs at least one block, not {blocks}")
        self.total = blocks
        # A stack: the block freed last is likely still in the processor's cache. Reversed so that 0 comes first.
        self._free = list(range(blocks - 1, -1, -1))
        self._taken = bytearray(blocks)

    @property
    def free(self) -> int:
        """Blocks that nobody owns."""
        return len(self._free)

    def is_taken(self, block: int) -> bool:
        """Whether somebody owns ``block``."""
        return bool(self._taken[block])

    def take(self) -> int:
        """A free block, now owned by the caller.

        Raises:
            IndexError: no block is free.
        """
        block = self._free.pop()
        self._taken[block] = 1
        return block

    def give_back(self, blocks: Iterable[int]) -> None:
        """Make blocks free again.

        Raises:
            ValueError: a block is free already; two owners have believed it theirs.
        """
        for block in blocks:
            if not self._taken[block]:
                raise ValueError(f"block {block} was given back twice")
            self._taken[block] = 0
            self._free.append(block)
