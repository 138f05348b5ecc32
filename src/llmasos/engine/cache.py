"""Room in the key-value cache: the pool of blocks and the radix tree behind one face."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable

from llmasos.engine.blocks import BlockPool
from llmasos.engine.radix import Node, RadixTree
from llmasos.engine.sequence import Sequence


class KVCacheManager:
    """Gives sequences blocks, shares prefixes between them and takes the blocks back.

    Every block is free, or owned by the tree, or owned by exactly one sequence. A full block passes to the tree as
    soon as it is computed, so live sequences share it too; a block that only begins like the next tokens is copied
    (copy-on-write) when at least half of it agrees.
    """

    def __init__(self, blocks: int, block_size: int, copy_block: Callable[[int, int], None]) -> None:
        self.block_size = block_size
        self.pool = BlockPool(blocks)
        self.tree = RadixTree(block_size)
        self._copy_block = copy_block
        self.evictions = 0
        """Blocks of past requests that made room."""
        self.copies = 0
        """Blocks copied because two sequences share their beginning only."""

    @property
    def capacity(self) -> int:
        """Tokens that fit into all blocks together."""
        return self.pool.total * self.block_size

    @property
    def available(self) -> int:
        """Blocks that are free or can be freed without touching a live sequence."""
        return self.pool.free + self.tree.evictable

    def blocks_for(self, tokens: int) -> int:
        """Blocks that hold ``tokens`` tokens."""
        return -(-tokens // self.block_size)

    # --- a sequence's way through the cache -------------------------------------------------------------------

    def admit(self, sequence: Sequence, reserve: int) -> bool:
        """Give a sequence blocks for all its known tokens, those of known prefixes shared.

        ``sequence.computed`` becomes the number of tokens that need no computing; at least the last token always
        does, because its logits are wanted. Nothing happens unless ``reserve`` blocks stay available.
        """
        tokens = sequence.tokens
        limit = min(len(tokens) - 1, sequence.match_limit)
        node = self.tree.match(sequence.namespace, tokens, limit)
        count = self.blocks_for(len(tokens)) - node.depth
        missing = count + self.tree.unlocked_on_path(node) + reserve
        if missing > self.available:
            sequence.blocks_wanted = missing
            return False
        sequence.blocks_wanted = 0
        self.tree.lock(node)
        partial = self.tree.partial_match(node, tokens, limit)
        if partial is not None:
            self.tree.touch(partial[0])
        sequence.node = node
        sequence.table = self.tree.path_blocks(node)
        sequence.computed = node.depth * self.block_size
        self._append(sequence, count)
        if partial is not None and partial[0].parent is not None:  # not evicted for the sequence's own sake
            self._copy(partial[0].block, sequence.table[node.depth])
            sequence.computed += partial[1]
        return True

    def adopt(self, sequence: Sequence) -> int:
        """Skip tokens that another sequence has computed since this one was admitted.

        Returns:
            The number of tokens that need no computing any more.
        """
        start = sequence.computed
        while (block := self.next_block(sequence)) is not None and block[1] in block[0].children:
            sequence.computed += self.block_size
            self.commit(sequence)
        return sequence.computed - start

    def next_block(self, sequence: Sequence) -> tuple[Node, tuple[int, ...]] | None:
        """Where in the tree a sequence goes on and with which full block, if another's would serve it as well."""
        node, start = sequence.node, sequence.computed
        end = start + self.block_size
        if node is None or node.depth * self.block_size != start:  # in the middle of a block
            return None
        if end > min(len(sequence.tokens) - 1, sequence.match_limit):
            return None
        return node, tuple(sequence.tokens[start:end])

    def reserve(self, sequence: Sequence, tokens: int) -> bool:
        """Make the block table cover ``tokens`` tokens; ``False`` (and no change) if there is no room."""
        missing = -(-tokens // self.block_size) - len(sequence.table)
        if missing > 0:
            if missing > self.available:
                return False
            self._append(sequence, missing)
        return True

    def commit(self, sequence: Sequence) -> None:
        """Pass the blocks that ``sequence.computed`` has filled to the tree."""
        node, size = sequence.node, self.block_size
        assert node is not None
        full = sequence.computed // size
        depth = node.depth
        while depth < full:
            own = sequence.table[depth]
            node = self.tree.extend(node, tuple(sequence.tokens[depth * size : (depth + 1) * size]), own)
            if node.block != own:  # another sequence computed the same block first
                sequence.table[depth] = node.block
                self.pool.give_back((own,))
            depth += 1
        sequence.node = node

    def fork(self, parent: Sequence, child: Sequence) -> bool:
        """Let ``child``, which has the same computed tokens as ``parent``, share its blocks.

        The block that is not full is copied, as both go on to write it. ``False`` if there is no room for that.
        """
        node = parent.node
        assert node is not None
        rest = parent.computed - node.depth * self.block_size
        if rest and not self.available:
            return False
        self.tree.lock(node)
        child.node = node
        child.table = parent.table[: node.depth]
        child.computed = parent.computed
        if rest:
            self._append(child, 1)
            self._copy(parent.table[node.depth], child.table[node.depth])
        return True

    def release(self, sequence: Sequence, *, forget: bool = False) -> None:
        """Take all blocks from a sequence. Full blocks stay in the tree for later requests, unless ``forget``."""
        if sequence.node is None:
            return
        self.pool.give_back(sequence.table[sequence.node.depth :])
        self.tree.unlock(sequence.node)
        if forget:
            self.pool.give_back(self.tree.prune(sequence.node))
        sequence.node = None
        sequence.table = []
        sequence.computed = 0
        sequence.draft = []

    # --- the cache as a whole ---------------------------------------------------------------------------------

    def drop(self, namespace: Hashable) -> None:
        """Forget all prefixes of a namespace, because their keys and values are no longer true.

        Raises:
            ValueError: a live sequence uses it.
        """
        self.pool.give_back(self.tree.drop(namespace))

    def drop_adapter(self, adapter: str | None) -> None:
        """:meth:`drop` all namespaces of an adapter, with and without steering."""
        for namespace in self.tree.namespaces():
            if namespace == adapter or (isinstance(namespace, tuple) and namespace[0] == adapter):
                self.drop(namespace)

    def clear(self) -> None:
        """Forget all prefixes that no live sequence uses."""
        self.pool.give_back(self.tree.evict(self.tree.evictable))

    def check_integrity(self, sequences: Iterable[Sequence]) -> None:
        """Verify that every block has exactly one owner and every count is right.

        ``sequences`` are all that live, waiting ones too. For tests: the cost is that of walking everything.

        Raises:
            AssertionError: an invariant is broken.
        """
        size = self.block_size
        holders: Counter[Node] = Counter()
        own: list[int] = []
        for sequence in sequences:
            node = sequence.node
            if node is None:
                assert not sequence.table and not sequence.computed, f"{sequence!r} holds blocks without a place"
                continue
            holders[node] += 1
            assert sequence.table[: node.depth] == self.tree.path_blocks(node), f"{sequence!r}: table differs"
            assert node.depth == sequence.computed // size, f"{sequence!r}: full blocks not in the tree"
            assert sequence.computed <= len(sequence.table) * size, f"{sequence!r}: table too short"
            own.extend(sequence.table[node.depth :])
        shared = self.tree.check_integrity(holders)
        owned = Counter(own) + Counter(shared)
        assert not owned or max(owned.values()) == 1, "a block has two owners"
        assert all(self.pool.is_taken(block) for block in owned), "a block in use is free"
        assert self.pool.free + len(own) + len(shared) == self.pool.total, "blocks leaked"

    def _append(self, sequence: Sequence, count: int) -> None:
        """Give a sequence ``count`` more blocks; the caller has made sure that they are available."""
        short = count - self.pool.free
        if short > 0:
            freed = self.tree.evict(short)
            self.evictions += len(freed)
            self.pool.give_back(freed)
        take = self.pool.take
        sequence.table.extend([take() for _ in range(count)])

    def _copy(self, source: int, target: int) -> None:
        self._copy_block(source, target)
        self.copies += 1
