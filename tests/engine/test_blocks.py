from __future__ import annotations

import pytest

from llmasos.engine.blocks import BlockPool


def test_hands_out_every_block_once() -> None:
    pool = BlockPool(3)
    assert sorted(pool.take() for _ in range(3)) == [0, 1, 2]
    assert pool.free == 0
    with pytest.raises(IndexError):
        pool.take()


def test_a_block_given_back_can_be_taken_again() -> None:
    pool = BlockPool(2)
    first, second = pool.take(), pool.take()
    pool.give_back([first])
    assert pool.free == 1 and not pool.is_taken(first) and pool.is_taken(second)
    assert pool.take() == first


def test_giving_back_twice_is_an_error() -> None:
    pool = BlockPool(2)
    block = pool.take()
    pool.give_back([block])
    with pytest.raises(ValueError, match="twice"):
        pool.give_back([block])


def test_an_empty_pool_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        BlockPool(0)
