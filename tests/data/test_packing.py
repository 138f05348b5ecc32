from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos.data.batches import IGNORED, PackedBatches, collate
from llmasos.data.packing import BestFit, Packing, Sequential, Unpacked, Utilisation, join, pack, plan
from llmasos.data.rendering.sample import RenderedSample
from llmasos.errors import InvalidRequest

kinds = st.sampled_from([BestFit(), BestFit(window=3), BestFit(window=20), Sequential(), Unpacked()])
lengths = st.lists(st.integers(1, 16), max_size=60)


def sample(length: int, first: int) -> RenderedSample:
    """A document whose tokens say where they come from."""
    ids = np.arange(first, first + length, dtype=np.int32)
    return RenderedSample(ids, np.arange(length) > 0)


def documents(sizes: list[int]) -> list[RenderedSample]:
    return [sample(size, 1000 * (number + 1)) for number, size in enumerate(sizes)]


@settings(max_examples=300)
@given(sizes=lengths, packing=kinds)
def test_nothing_lost_nothing_doubled_nothing_too_full(sizes: list[int], packing: Packing) -> None:
    utilisation = Utilisation(16)
    bins = list(plan(sizes, 16, packing, utilisation))
    assert sorted(number for documents in bins for number in documents) == list(range(len(sizes)))
    assert all(0 < sum(sizes[number] for number in documents) <= 16 for documents in bins)
    assert all(documents == tuple(sorted(documents)) for documents in bins)
    assert (utilisation.documents, utilisation.sequences, utilisation.tokens) == (len(sizes), len(bins), sum(sizes))
    assert list(plan(sizes, 16, packing)) == bins, "the same documents are packed the same way"


@given(sizes=lengths, packing=kinds)
def test_boundaries_are_exact(sizes: list[int], packing: Packing) -> None:
    originals = documents(sizes)
    for packed in pack(iter(originals), 16, packing):
        edges = [*packed.boundaries.tolist(), len(packed)]
        for begin, end in pairwise(edges):
            original = originals[int(packed.ids[begin]) // 1000 - 1]
            assert packed.ids[begin:end].tolist() == original.ids.tolist()
            assert packed.trained[begin:end].tolist() == original.trained.tolist()


def reference_best_fit(sizes: list[int], capacity: int) -> list[tuple[int, ...]]:
    """Best-fit decreasing as textbooks have it: look at every bin."""
    bins: list[tuple[int, list[int]]] = []
    ages: list[int] = []
    for clock, number in enumerate(sorted(range(len(sizes)), key=lambda index: -sizes[index])):
        fitting = [(room, ages[place], place) for place, (room, _) in enumerate(bins) if room >= sizes[number]]
        if fitting:
            _, _, place = min(fitting)
            room, members = bins[place]
            bins[place] = (room - sizes[number], [*members, number])
            ages[place] = clock
        else:
            bins.append((capacity - sizes[number], [number]))
            ages.append(clock)
    return sorted(tuple(sorted(members)) for _, members in bins)


@given(sizes=lengths)
def test_best_fit_is_the_textbooks(sizes: list[int]) -> None:
    assert list(plan(sizes, 16, BestFit(window=100))) == reference_best_fit(sizes, 16)


def test_best_fit_wastes_less() -> None:
    sizes = np.random.default_rng(0).integers(1, 700, 3000).tolist()
    shares = {}
    for packing in (BestFit(), Sequential(), Unpacked()):
        utilisation = Utilisation(1024)
        list(plan(sizes, 1024, packing, utilisation))
        shares[packing.kind] = utilisation.share
    assert shares["best_fit"] > 0.98 > shares["sequential"] > shares["none"]


def test_sequential_keeps_the_order() -> None:
    assert list(plan([6, 6, 6, 10, 16, 1], 16, Sequential())) == [(0, 1), (2, 3), (4,), (5,)]


def test_a_stream_is_read_a_window_at_a_time() -> None:
    read = 0

    def stream() -> Iterator[RenderedSample]:
        nonlocal read
        for number in range(1000):
            read += 1
            yield sample(5, number)

    packed = pack(stream(), 16, BestFit(window=30))
    next(packed)
    assert read <= 30


@pytest.mark.parametrize("length", [0, 17])
def test_documents_that_do_not_fit_are_refused(length: int) -> None:
    with pytest.raises(InvalidRequest, match=f"document 1 has {length} tokens"):
        list(plan([3, length], 16, BestFit()))


def test_pairs_cannot_be_packed() -> None:
    pair = RenderedSample(np.arange(4, dtype=np.int32), np.zeros(4, np.bool_), pair_start=2)
    assert join([pair]) is pair
    with pytest.raises(InvalidRequest, match="pairs"):
        join([pair, pair])


def test_a_batch() -> None:
    first = join([sample(3, 10), sample(2, 20)])
    batch = collate([first, sample(2, 30)], padding_id=9, multiple=4)
    assert batch.ids.tolist() == [[10, 11, 12, 20, 21, 9, 9, 9], [30, 31, 9, 9, 9, 9, 9, 9]]
    n = IGNORED
    assert batch.labels.tolist() == [[n, 11, 12, n, 21, n, n, n], [n, 31, n, n, n, n, n, n]]
    assert batch.position_ids[0].tolist() == [0, 1, 2, 0, 1, 0, 0, 0]
    assert batch.documents[0].tolist() == [1, 1, 1, 2, 2, 0, 0, 0]
    assert [part.tolist() for part in batch.lengths] == [[3, 2], [2]]
    assert batch.cumulative_lengths().tolist() == [0, 3, 5, 7]
    assert batch.trained_count == 4
    pair = RenderedSample(np.arange(4, dtype=np.int32), np.zeros(4, np.bool_), pair_start=3)
    assert collate([pair], padding_id=0).token_type_ids.tolist() == [[0, 0, 0, 1]]


def batches(seed: int | None = 0, batch_size: int = 3) -> PackedBatches:
    sizes = np.random.default_rng(1).integers(1, 16, 50).tolist()
    return PackedBatches(
        documents(sizes), capacity=16, packing=BestFit(), batch_size=batch_size, padding_id=0, seed=seed
    )


def test_every_epoch_has_every_token_once_in_another_order() -> None:
    packed = batches()
    epochs = [list(packed.epoch(number)) for number in range(2)]
    assert all(len(epoch) == len(packed) for epoch in epochs)
    contents = [sorted(int(i) for batch in epoch for i in batch.ids[batch.documents > 0]) for epoch in epochs]
    assert contents[0] == contents[1]
    assert len(contents[0]) == packed.utilisation.tokens
    assert [batch.ids.tolist() for batch in epochs[0]] != [batch.ids.tolist() for batch in epochs[1]]


def test_training_goes_on_from_any_batch() -> None:
    expected = [batch.ids.tolist() for batch in batches().epoch(3)]
    assert [batch.ids.tolist() for batch in batches().epoch(3, start=4)] == expected[4:]
    assert batches()[2].ids.tolist() == [batch.ids.tolist() for batch in batches().epoch(0)][2]
    with pytest.raises(IndexError):
        batches()[len(batches())]


def test_without_a_seed_the_order_is_that_of_the_data() -> None:
    firsts = [int(row[0]) for batch in batches(seed=None).epoch(1) for row in batch.ids]
    assert firsts == sorted(firsts)


def test_nothing_to_learn_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="nothing to learn"):
        PackedBatches([], capacity=16, packing=BestFit(), batch_size=1, padding_id=0)
