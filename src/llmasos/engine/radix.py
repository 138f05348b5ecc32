"""The radix tree over token blocks: which prefixes are in the cache, who uses them, which go first.

The idea is RadixAttention's (SGLang, arXiv:2312.07104), at block granularity: an edge is one full block of tokens,
so nodes never split, and a node owns the cache block with the keys and values of these tokens in the context of
its path. Roots are namespaces: keys and values depend on the adapter (and steering) as well as on the tokens.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator, Sequence

BlockKey = tuple[int, ...]


class Node:
    """One full block of tokens in the context of its path."""

    __slots__ = ("block", "children", "depth", "key", "last_used", "locks", "parent", "partial")

    def __init__(self, key: BlockKey, block: int, parent: Node | None, depth: int) -> None:
        self.key = key
        self.block = block
        self.parent = parent
        """``None`` for a root and for a node that was evicted."""
        self.depth = depth
        """Blocks from the root to here, this one included."""
        self.children: dict[BlockKey, Node] = {}
        self.partial: dict[BlockKey, Node] = {}
        """First half of a block -> the child with that beginning which was added last."""
        self.locks = 0
        """Live sequences whose path goes through this node."""
        self.last_used = 0


class Root(Node):
    """The empty prefix of a namespace. It owns no block."""

    __slots__ = ("namespace",)

    def __init__(self, namespace: Hashable) -> None:
        super().__init__((), -1, None, 0)
        self.namespace = namespace


class RadixTree:
    """Prefixes of past and live requests. All operations cost O(blocks touched), evictions O(log nodes)."""

    def __init__(self, block_size: int) -> None:
        self.block_size = block_size
        self.nodes = 0
        """Blocks that the tree owns."""
        self.evictable = 0
        """Blocks of the tree that no live sequence uses. All of them can be evicted, leaves first."""
        self._roots: dict[Hashable, Root] = {}
        self._clock = 0
        # Leaves without locks as (last use, serial, node). Entries may be outdated; `_is_current` tells.
        self._heap: list[tuple[int, int, Node]] = []
        self._serial = 0
        self._half = max(1, block_size // 2)

    # --- looking up -------------------------------------------------------------------------------------------

    def match(self, namespace: Hashable, tokens: Sequence[int], limit: int) -> Node:
        """The deepest node whose path is a prefix of the first ``limit`` tokens; a root if nothing matches.

        The node is only good until the tree changes, unless it is locked.
        """
        node: Node = self._roots.get(namespace) or Root(namespace)
        size = self.block_size
        for start in range(0, limit - size + 1, size):
            child = node.children.get(tuple(tokens[start : start + size]))
            if child is None:
                break
            node = child
        return node

    def partial_match(self, node: Node, tokens: Sequence[int], limit: int) -> tuple[Node, int] | None:
        """A child of ``node`` that begins like the next tokens, and how many agree: at least half a block.

        ``tokens`` is the whole sequence, of which the path of ``node`` is a prefix; the first ``limit`` count.
        """
        start = node.depth * self.block_size
        if limit - start < self._half:
            return None
        child = node.partial.get(tuple(tokens[start : start + self._half]))
        if child is None:
            return None
        common = self._half
        for ours, theirs in zip(tokens[start + common : limit], child.key[common:], strict=False):
            if ours != theirs:
                break
            common += 1
        return child, common

    def namespaces(self) -> list[Hashable]:
        """The namespaces that have prefixes."""
        return list(self._roots)

    def path_blocks(self, node: Node) -> list[int]:
        """The blocks from the root to ``node``."""
        blocks = []
        while node.parent is not None:
            blocks.append(node.block)
            node = node.parent
        blocks.reverse()
        return blocks

    def unlocked_on_path(self, node: Node) -> int:
        """How many blocks up to ``node`` would stop being evictable if it were locked."""
        count = 0
        while node.parent is not None and node.locks == 0:
            count += 1
            node = node.parent
        return count

    def touch(self, node: Node) -> None:
        """Note that ``node`` is about to be read, so that it is the last to be evicted."""
        self._clock += 1
        node.last_used = self._clock
        if node.locks == 0 and not node.children:
            self._offer(node)

    # --- use --------------------------------------------------------------------------------------------------

    def lock(self, node: Node) -> None:
        """Count a sequence that uses the whole path up to ``node``: none of it can be evicted."""
        self._clock += 1
        while node.parent is not None:
            if node.locks == 0:
                self.evictable -= 1
            node.locks += 1
            node.last_used = self._clock
            node = node.parent
        assert isinstance(node, Root), "an evicted node cannot be locked"
        self._roots[node.namespace] = node
        node.locks += 1

    def extend(self, parent: Node, key: BlockKey, block: int) -> Node:
        """Move a sequence that holds ``parent`` on to its child for ``key``, which is made if there is none.

        A new child takes over ``block``. An existing child keeps its own: the caller compares ``child.block`` with
        ``block`` and gives back its duplicate.
        """
        self._clock += 1
        child = parent.children.get(key)
        if child is None:
            child = Node(key, block, parent, parent.depth + 1)
            parent.children[key] = child
            parent.partial[key[: self._half]] = child
            self.nodes += 1
        elif child.locks == 0:
            self.evictable -= 1
        child.locks += 1
        child.last_used = self._clock
        return child

    def unlock(self, node: Node) -> None:
        """The opposite of :meth:`lock`; the path stays in the tree until its room is needed.

        Raises:
            ValueError: nobody holds the node.
        """
        self._clock += 1
        while node.parent is not None:
            if node.locks <= 0:
                raise ValueError(f"block {node.block} was unlocked more often than it was locked")
            node.locks -= 1
            node.last_used = self._clock
            if node.locks == 0:
                self.evictable += 1
                if not node.children:
                    self._offer(node)
            node = node.parent
        node.locks -= 1
        self._forget_if_empty(node)

    # --- shrinking --------------------------------------------------------------------------------------------

    def evict(self, count: int) -> list[int]:
        """Remove up to ``count`` blocks that no live sequence uses, least recently used leaves first.

        Returns:
            The blocks, now the caller's.
        """
        freed: list[int] = []
        while len(freed) < count and self._heap:
            entry = heapq.heappop(self._heap)
            if self._is_current(entry):
                freed.append(self._remove(entry[2]))
        return freed

    def prune(self, node: Node) -> list[int]:
        """Remove ``node`` and the path to it, up to the first block that something else still needs.

        Returns:
            The blocks, now the caller's.
        """
        freed: list[int] = []
        while (parent := node.parent) is not None and node.locks == 0 and not node.children:
            freed.append(self._remove(node))
            node = parent
        return freed

    def drop(self, namespace: Hashable) -> list[int]:
        """Remove a whole namespace, for instance of an adapter that was unloaded.

        Returns:
            Its blocks, now the caller's.

        Raises:
            ValueError: a live sequence uses it.
        """
        root = self._roots.get(namespace)
        if root is None:
            return []
        if root.locks:
            raise ValueError(f"{root.locks} sequence(s) use the namespace {namespace!r}")
        nodes = [node for node in _walk(root) if node.parent is not None]
        for node in nodes:
            node.parent = None  # outdates its entries in the heap
        self.nodes -= len(nodes)
        self.evictable -= len(nodes)
        del self._roots[namespace]
        return [node.block for node in nodes]

    def _remove(self, node: Node) -> int:
        parent = node.parent
        assert parent is not None
        del parent.children[node.key]
        half = node.key[: self._half]
        if parent.partial.get(half) is node:
            del parent.partial[half]
        node.parent = None
        self.nodes -= 1
        self.evictable -= 1
        if parent.parent is None:
            self._forget_if_empty(parent)
        elif not parent.children and parent.locks == 0:
            self._offer(parent)
        return node.block

    def _offer(self, leaf: Node) -> None:
        """Queue a leaf without locks for eviction."""
        self._serial += 1
        heapq.heappush(self._heap, (leaf.last_used, self._serial, leaf))
        if len(self._heap) > 2 * self.nodes + 64:  # outdated entries would pile up while nothing is evicted
            self._heap = [entry for entry in self._heap if self._is_current(entry)]
            heapq.heapify(self._heap)

    @staticmethod
    def _is_current(entry: tuple[int, int, Node]) -> bool:
        last_used, _, node = entry
        return node.parent is not None and not node.children and node.locks == 0 and node.last_used == last_used

    def _forget_if_empty(self, root: Node) -> None:
        # Namespaces come and go with adapters and steering.
        if isinstance(root, Root) and not root.locks and not root.children:
            self._roots.pop(root.namespace, None)

    # --- checking ---------------------------------------------------------------------------------------------

    def check_integrity(self, holders: dict[Node, int]) -> list[int]:
        """Verify every invariant of the tree, given how many live sequences hold each node as their deepest.

        Returns:
            The blocks of all nodes.

        Raises:
            AssertionError: an invariant is broken.
        """
        expected: dict[Node, int] = {}
        for holder, count in holders.items():
            node: Node | None = holder
            while node is not None:
                expected[node] = expected.get(node, 0) + count
                root, node = node, node.parent
            assert isinstance(root, Root) and self._roots.get(root.namespace) is root, "a held path was evicted"
        queued = {entry[2] for entry in self._heap if self._is_current(entry)}
        blocks: list[int] = []
        evictable = 0
        for namespace, root in self._roots.items():
            assert root.namespace == namespace and (root.children or root.locks), f"empty namespace {namespace!r}"
            for node in _walk(root):
                assert node.locks == expected.get(node, 0), f"block {node.block}: {node.locks} locks"
                assert all(half in {key[: self._half] for key in node.children} for half in node.partial)
                assert all(child.parent is node for child in node.partial.values())
                if node.parent is None:
                    continue
                assert node.depth == node.parent.depth + 1 and len(node.key) == self.block_size
                assert node.parent.children[node.key] is node
                assert node.locks <= node.parent.locks
                if node.locks == 0:
                    evictable += 1
                    assert node.children or node in queued, f"block {node.block} could never be evicted"
                blocks.append(node.block)
        assert len(blocks) == self.nodes and evictable == self.evictable
        return blocks


def _walk(root: Node) -> Iterator[Node]:
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(node.children.values())
