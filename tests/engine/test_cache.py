from __future__ import annotations

import pytest

from llmasos.engine.cache import KVCacheManager
from llmasos.engine.sequence import Sequence


class Copies(list[tuple[int, int]]):
    def __call__(self, source: int, target: int) -> None:
        self.append((source, target))


def _sequence(number: int, tokens: list[int]) -> Sequence:
    return Sequence(number, tokens, limit=1000)


def _serve(cache: KVCacheManager, sequence: Sequence) -> None:
    """Admit, compute all, release: what a past request leaves."""
    assert cache.admit(sequence, 0)
    sequence.computed = len(sequence.tokens)
    cache.commit(sequence)
    cache.release(sequence)


def test_live_sequences_share_blocks_as_soon_as_they_are_full() -> None:
    cache = KVCacheManager(20, 4, Copies())
    first, second = _sequence(1, [1] * 10), _sequence(2, [1] * 10)
    cache.admit(first, 0)
    first.computed = 9
    cache.commit(first)
    cache.admit(second, 0)
    assert second.table[:2] == first.table[:2] and second.computed == 8
    assert cache.pool.free == 20 - 3 - 1
    cache.check_integrity([first, second])


def test_the_same_block_computed_twice_is_kept_once() -> None:
    cache = KVCacheManager(20, 4, Copies())
    first, second = _sequence(1, [1] * 9), _sequence(2, [1] * 9)
    for sequence in (first, second):
        cache.admit(sequence, 0)
    assert not set(first.table) & set(second.table)
    for sequence in (first, second):
        sequence.computed = 9
        cache.commit(sequence)
    assert first.table[:2] == second.table[:2] and first.table[2] != second.table[2]
    assert cache.pool.free == 20 - 4
    cache.check_integrity([first, second])


@pytest.mark.parametrize(("agreeing", "copied"), [(1, 0), (2, 2), (3, 3)])
def test_half_a_block_is_worth_a_copy(agreeing: int, copied: int) -> None:
    copies = Copies()
    cache = KVCacheManager(20, 4, copies)
    past = _sequence(1, [1, 2, 3, 4, 5, 6, 7, 8, 9])
    _serve(cache, past)
    new = _sequence(2, [1, 2, 3, 4, *[5, 6, 7, 8][:agreeing], 0, 0, 0])
    cache.admit(new, 0)
    assert new.computed == 4 + copied and len(copies) == (copied > 0)
    assert not copies or (copies[0][1] == new.table[1] and copies[0][0] != new.table[1])


def test_a_block_about_to_be_copied_is_the_last_to_be_evicted() -> None:
    copies = Copies()
    cache = KVCacheManager(4, 4, copies)
    for number in (1, 2, 3):  # the first is the longest unused
        _serve(cache, _sequence(number, [number] * 5))
    new = _sequence(9, [1, 1, 1, 0, 0, 0, 0])
    assert cache.admit(new, 0)
    assert new.computed == 3 and len(copies) == 1


def test_what_does_not_fit_changes_nothing() -> None:
    cache = KVCacheManager(4, 4, Copies())
    first, second = _sequence(1, [1] * 9), _sequence(2, [2] * 5)
    assert cache.admit(first, 0)
    assert not cache.admit(second, 0) and second.node is None and second.blocks_wanted == 2
    assert not cache.reserve(first, 17) and len(first.table) == 3
    assert cache.reserve(first, 16) and len(first.table) == 4
    cache.check_integrity([first, second])


def test_forgetting_spares_what_others_use() -> None:
    cache = KVCacheManager(20, 4, Copies())
    first, second = _sequence(1, [1] * 8 + [2] * 5), _sequence(2, [1] * 8 + [3] * 5)
    for sequence in (first, second):
        cache.admit(sequence, 0)
        sequence.computed = 13
        cache.commit(sequence)
    cache.release(first, forget=True)
    cache.check_integrity([second])
    assert cache.tree.nodes == 3, "the common two blocks and the other's third"
    cache.release(second, forget=True)
    assert cache.tree.nodes == 0 and cache.pool.free == 20
