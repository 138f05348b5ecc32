from __future__ import annotations

from collections import Counter

import pytest

from llmasos.engine.radix import Node, RadixTree


def _grow(tree: RadixTree, tokens: list[int], blocks: list[int], namespace: object = None) -> Node:
    """Insert a path and leave it locked once."""
    node = tree.match(namespace, (), 0)
    tree.lock(node)
    for index, block in enumerate(blocks):
        size = tree.block_size
        node = tree.extend(node, tuple(tokens[index * size : (index + 1) * size]), block)
    return node


def test_matches_the_longest_prefix_of_full_blocks() -> None:
    tree = RadixTree(2)
    leaf = _grow(tree, [1, 2, 3, 4, 5, 6], [10, 11, 12])
    assert tree.match(None, [1, 2, 3, 4, 5, 6, 7], 7) is leaf
    assert tree.path_blocks(leaf) == [10, 11, 12]
    assert tree.match(None, [1, 2, 3, 4, 9, 9], 6).depth == 2
    assert tree.match(None, [1, 2, 3, 4, 5, 6], 5).depth == 2, "limit cuts the third block"
    assert tree.match(None, [2, 1], 2).depth == 0


def test_namespaces_share_nothing() -> None:
    tree = RadixTree(2)
    _grow(tree, [1, 2], [0], namespace="a")
    assert tree.match("b", [1, 2], 2).depth == 0
    assert tree.match("a", [1, 2], 2).depth == 1


def test_partial_match_needs_half_a_block() -> None:
    tree = RadixTree(4)
    leaf = _grow(tree, [1, 2, 3, 4], [5])
    root = leaf.parent
    assert root is not None
    assert tree.partial_match(root, [1, 2, 3, 9], 4) == (leaf, 3)
    assert tree.partial_match(root, [1, 2, 9, 9], 4) == (leaf, 2)
    assert tree.partial_match(root, [1, 9, 9, 9], 4) is None
    assert tree.partial_match(root, [1, 2, 3, 4], 3) == (leaf, 3)
    assert tree.partial_match(root, [1, 2, 3, 4], 1) is None


def test_extend_keeps_the_block_that_was_there_first() -> None:
    tree = RadixTree(2)
    first = _grow(tree, [1, 2], [7])
    second = _grow(tree, [1, 2], [8])
    assert first is second and second.block == 7 and second.locks == 2


def test_only_unlocked_leaves_go_and_the_longest_unused_first() -> None:
    tree = RadixTree(1)
    old = _grow(tree, [1, 2], [0, 1])
    new = _grow(tree, [1, 3], [0, 2])
    assert tree.evict(5) == [] and tree.evictable == 0
    tree.unlock(old)
    assert tree.evictable == 1, "block 0 is on the path of the other"
    tree.unlock(new)
    assert tree.evictable == 3
    tree.check_integrity(Counter())
    assert tree.evict(1) == [1]
    assert tree.evict(5) == [2, 0], "children before parents"
    assert (tree.nodes, tree.evictable) == (0, 0)
    tree.check_integrity(Counter())


def test_use_renews() -> None:
    tree = RadixTree(1)
    for token in (1, 2):
        tree.unlock(_grow(tree, [token], [token]))
    again = tree.match(None, [1], 1)
    tree.lock(again)
    tree.unlock(again)
    assert tree.evict(1) == [2]


def test_touch_renews() -> None:
    tree = RadixTree(1)
    for token in (1, 2):
        tree.unlock(_grow(tree, [token], [token]))
    tree.touch(tree.match(None, [1], 1))
    assert tree.evict(1) == [2]


def test_unlocking_too_often_is_an_error() -> None:
    tree = RadixTree(1)
    node = _grow(tree, [1], [0])
    tree.unlock(node)
    with pytest.raises(ValueError, match="more often"):
        tree.unlock(node)


def test_drop_gives_all_blocks_of_a_namespace_unless_in_use() -> None:
    tree = RadixTree(1)
    tree.unlock(_grow(tree, [1, 2], [0, 1], namespace="a"))
    held = _grow(tree, [1], [2], namespace="b")
    assert sorted(tree.drop("a")) == [0, 1]
    assert tree.drop("unknown") == []
    with pytest.raises(ValueError, match="use the namespace"):
        tree.drop("b")
    tree.unlock(held)
    assert tree.evict(9) == [2], "entries of dropped nodes are outdated"
    tree.check_integrity(Counter())


def test_reusing_one_prefix_for_ever_takes_no_memory() -> None:
    tree = RadixTree(1)
    tree.unlock(_grow(tree, [1, 2, 3], [0, 1, 2]))
    for _ in range(5000):
        node = tree.match(None, [1, 2, 3], 3)
        tree.lock(node)
        tree.unlock(node)
    assert len(tree._heap) <= 2 * tree.nodes + 64


def test_empty_namespaces_are_forgotten() -> None:
    tree = RadixTree(1)
    for number in range(100):
        tree.unlock(_grow(tree, [1], [number], namespace=("steering", number)))
    tree.evict(100)
    tree.match("never used", [1], 1)
    assert not tree._roots
