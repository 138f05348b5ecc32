"""MinHash against datasketch, bands against their formula."""

from __future__ import annotations

import datasketch
import numpy as np
import pytest

from llmasos.data.deduplication.components import Components
from llmasos.data.deduplication.minhash import (
    EMPTY,
    Bands,
    Permutations,
    agreement,
    band_keys,
    choose_bands,
    least_agreement,
    sketches,
)
from llmasos.data.deduplication.shingles import ShingleSets, shingle_sets
from llmasos.data.deduplication.tokens import tokenize

TEXTS = [
    "The quick brown fox jumps over the lazy dog, and the dog sleeps on.",
    "今天天气很好，我们去北京看长城吧。",
    "one",
    "",
    "word " * 50,
    " ".join(f"w{number}" for number in range(500)),
]


@pytest.mark.parametrize(("count", "seed"), [(8, 1), (128, 1), (256, 12345)])
def test_signatures_are_those_of_datasketch(count: int, seed: int) -> None:
    sets = shingle_sets(tokenize(TEXTS), 3)
    signatures = Permutations.make(count, seed).signatures(sets)
    for number in range(len(TEXTS)):
        other = datasketch.MinHash(num_perm=count, seed=seed, scheme="affine32", hashfunc=int)
        other.update_batch(sets.hashes[sets.offsets[number] : sets.offsets[number + 1]].tolist())
        assert signatures[number].tolist() == other.hashvalues.tolist()


def test_fixed_hashes_give_fixed_signatures() -> None:
    """The values of datasketch 2.0.0, so that a change of either library shows."""
    sets = ShingleSets(np.array([1, 2, 3, 0xFFFFFFFF], np.uint32), np.array([0, 4], np.int64))
    other = datasketch.MinHash(num_perm=4, seed=1, scheme="affine32", hashfunc=int)
    for value in (1, 2, 3, 0xFFFFFFFF):
        other.update(value)
    assert Permutations.make(4, 1).signatures(sets).tolist() == [other.hashvalues.tolist()]


def test_signatures_estimate_the_similarity() -> None:
    generator = np.random.default_rng(3)
    pool = generator.choice(2**32, 3000, replace=False).astype(np.uint32)
    left, right = np.sort(pool[:2000]), np.sort(pool[1000:])
    sets = ShingleSets(np.concatenate([left, right]), np.array([0, 2000, 4000], np.int64))
    signatures = Permutations.make(1024, 7).signatures(sets)
    assert abs((signatures[0] == signatures[1]).mean() - 1 / 3) < 0.06
    bits = sketches(signatures)
    assert abs(agreement(bits[:1], bits[1:])[0] / 1024 - (1 / 3 + 2 / 3 / 4)) < 0.06


def test_an_empty_text_has_an_empty_signature() -> None:
    signatures = Permutations.make(16, 1).signatures(shingle_sets(tokenize(["", "!!"]), 3))
    assert (signatures == EMPTY).all()


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 1.0])
def test_bands_find_pairs_at_the_threshold(threshold: float) -> None:
    bands = choose_bands(threshold, 128, 0.99)
    assert bands.count * bands.rows <= 128
    assert bands.chance(threshold) >= 0.99
    longer = Bands(128 // (bands.rows + 1), bands.rows + 1)
    assert longer.count == 0 or longer.chance(threshold) < 0.99


def test_bands_for_an_unreachable_recall_are_single_values() -> None:
    assert choose_bands(0.01, 8, 0.99) == Bands(8, 1)


def test_keys_are_equal_where_bands_are_and_differ_between_bands() -> None:
    signatures = np.array([[1, 2, 3, 4], [1, 2, 9, 4], [3, 4, 1, 2]], np.uint32)
    keys = band_keys(signatures, Bands(2, 2))
    assert keys.shape == (2, 3)
    assert keys[0, 0] == keys[0, 1] != keys[0, 2]
    assert len({*keys[1].tolist()}) == 3
    assert keys[0, 0] != keys[1, 2]  # the same values in another band are another key


def test_sketches_agree_in_all_values_of_equal_signatures() -> None:
    signatures = np.random.default_rng(1).integers(0, 2**32, (3, 128), dtype=np.uint32)
    bits = sketches(signatures)
    assert bits.shape == (3, 32)
    assert agreement(bits, bits).tolist() == [128] * 3
    assert agreement(bits[:1], bits[1:2])[0] < least_agreement(0.7, 128) < 128


def test_components_are_named_by_their_smallest_member_whatever_the_order() -> None:
    generator = np.random.default_rng(5)
    left, right = generator.integers(0, 300, 200), generator.integers(0, 300, 200)
    parents = list(range(300))

    def find(item: int) -> int:
        while parents[item] != item:
            item = parents[item]
        return item

    for first, second in zip(left.tolist(), right.tolist(), strict=True):
        a, b = find(first), find(second)
        parents[max(a, b)] = min(a, b)
    expected = [find(item) for item in range(300)]
    for order in (np.arange(200), np.arange(200)[::-1], generator.permutation(200)):
        components = Components(300)
        for part in np.array_split(order, 7):
            components.union(left[part], right[part])
        assert components.find(np.arange(300)).tolist() == expected


def test_a_long_chain_is_one_component() -> None:
    components = Components(10_000)
    components.union(np.arange(9_999), np.arange(1, 10_000))
    assert (components.find(np.arange(10_000)) == 0).all()
