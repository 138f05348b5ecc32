"""The order of sequences: every one once an epoch, random by steps, alike in a micro-batch, the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos.training.order import Order, Share

lengths_of = st.lists(st.integers(1, 50), min_size=1, max_size=60)
sizes = st.integers(1, 9)


def order(lengths: list[int], batch: int, micro: int, *, seed: int | None = 1, rank: int = 0, world: int = 1) -> Order:
    return Order(lengths, batch_size=batch, micro_batch_size=micro, seed=seed, share=Share(rank, world))


@given(lengths_of, sizes, sizes, st.integers(1, 4), st.integers(0, 3))
def test_every_sequence_once_an_epoch(lengths: list[int], batch: int, micro: int, world: int, epoch: int) -> None:
    shares = [order(lengths, batch, micro, rank=rank, world=world) for rank in range(world)]
    seen: list[int] = []
    for step in range(shares[0].steps):
        found = [share.of_step(step, epoch=epoch) for share in shares]
        assert len({len(micro_batches) for micro_batches in found}) == 1
        in_step = [number for own in found for item in own if item.counts for number in item.sequences]
        assert len(in_step) == min(batch, len(lengths) - step * batch)
        seen += in_step
    assert sorted(seen) == list(range(len(lengths)))
    for share in shares:
        assert len(share) == sum(len(share.of_step(step, epoch=epoch)) for step in range(share.steps))


@given(lengths_of, sizes, sizes, st.integers(1, 4))
def test_steps_do_not_depend_on_how_they_are_divided(lengths: list[int], batch: int, micro: int, world: int) -> None:
    whole = order(lengths, batch, batch)
    for step in range(whole.steps):
        expected = {number for item in whole.of_step(step, epoch=2) for number in item.sequences}
        found = [
            number
            for rank in range(world)
            for item in order(lengths, batch, micro, rank=rank, world=world).of_step(step, epoch=2)
            if item.counts
            for number in item.sequences
        ]
        assert set(found) == expected
        assert len(found) == len(expected)


def test_a_step_is_sorted_and_steps_are_not() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 400).tolist()
    found = order(lengths, 40, 10)
    means = []
    for step in range(10):
        own = [[lengths[number] for number in item.sequences] for item in found.of_step(step, epoch=0)]
        flat = [length for item in own for length in item]
        assert flat == sorted(flat, reverse=True)
        means.append(np.mean(flat))
    assert np.ptp(means) < 25  # grouping over the whole epoch would give steps of short and steps of long sequences


def test_epochs_and_seeds_differ_and_repeat() -> None:
    lengths = [1] * 50

    def first(seed: int, epoch: int) -> tuple[int, ...]:
        return order(lengths, 50, 50, seed=seed).of_step(0, epoch=epoch)[0].sequences

    assert first(1, 0) == first(1, 0)
    assert len({first(1, 0), first(1, 1), first(2, 0)}) == 3


def test_without_a_seed_the_longest_come_first() -> None:
    found = order([3, 9, 1, 7, 7], 2, 2, seed=None)
    assert [item.sequences for step in range(3) for item in found.of_step(step, epoch=5)] == [(1, 3), (4, 0), (2,)]
    assert list(found.whole_epoch()) == [(1, 3), (4, 0), (2,)]


def test_there_are_no_steps_beyond_the_last() -> None:
    with pytest.raises(IndexError):
        order([1, 2, 3], 2, 1).of_step(2, epoch=0)
