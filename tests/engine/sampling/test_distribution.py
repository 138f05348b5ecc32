"""The definition of the distribution against transformers' logits processors, and every fast way against it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from llmasos.engine.request import SamplingParameters
from llmasos.engine.sampling import batch
from llmasos.engine.sampling.candidates import largest
from llmasos.engine.sampling.distribution import race, row_distribution
from llmasos.engine.sampling.noise import exponentials, stream_key, uniform, word_at
from llmasos.engine.sampling.state import Method, choose_method

DRAWS = {
    Method.DENSE: batch.draw_dense,
    Method.NUCLEUS: batch.draw_nucleus,
    Method.CANDIDATES: batch.draw_candidates,
    Method.TYPICAL: batch.draw_typical,
    Method.GENERAL: batch.draw_general,
}


def make_row(seed: int, vocabulary: int, spread: float = 3.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, spread, vocabulary).astype(np.float32)


def transformers_distribution(row: np.ndarray, parameters: SamplingParameters) -> np.ndarray:
    """The chain of warpers that ``generate`` builds, in its order, in double precision."""
    warpers = LogitsProcessorList([TemperatureLogitsWarper(parameters.temperature)])
    if parameters.top_k:
        warpers.append(TopKLogitsWarper(parameters.top_k))
    if parameters.top_p < 1:
        warpers.append(TopPLogitsWarper(parameters.top_p))
    if parameters.min_p:
        warpers.append(MinPLogitsWarper(parameters.min_p))
    if parameters.typical_p < 1:
        warpers.append(TypicalLogitsWarper(parameters.typical_p))
    scores = warpers(torch.zeros(1, 1, dtype=torch.long), torch.from_numpy(row).double()[None])
    return torch.softmax(scores, -1)[0].numpy()


truncations = st.builds(
    SamplingParameters,
    temperature=st.sampled_from([0.05, 0.5, 0.8, 1.0, 1.7, 5.0]),
    top_k=st.sampled_from([0, 0, 1, 2, 40, 200, 5000]),
    top_p=st.sampled_from([1.0, 1.0, 0.05, 0.5, 0.9, 0.999]),
    min_p=st.sampled_from([0.0, 0.0, 0.001, 0.05, 0.7]),
    typical_p=st.sampled_from([1.0, 1.0, 0.1, 0.6, 0.95]),
)


@settings(max_examples=150, deadline=None)
@given(truncations, st.integers(0, 10**6), st.sampled_from([5, 64, 333, 3000]))
def test_definition_matches_transformers(parameters: SamplingParameters, seed: int, vocabulary: int) -> None:
    row = make_row(seed, vocabulary)
    expected = transformers_distribution(row, parameters)
    ids, chances = row_distribution(row, parameters)
    assert set(ids.tolist()) == set(np.flatnonzero(expected).tolist())
    np.testing.assert_allclose(chances, expected[ids], rtol=1e-9)


def test_ties_with_the_last_of_top_k_are_kept_as_transformers_does() -> None:
    row = np.array([1, 3, 2, 2, 2, 0], dtype=np.float32)
    parameters = SamplingParameters(top_k=2)
    ids, chances = row_distribution(row, parameters)
    assert ids.tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(chances, transformers_distribution(row, parameters)[ids])


def words_for(draws: int, seed: int = 0) -> np.ndarray:
    return np.array([word_at(stream_key(seed), position) for position in range(draws)], dtype=np.uint64)


def assert_drawn_from(tokens: np.ndarray, ids: np.ndarray, chances: np.ndarray, *, deviations: float = 5) -> None:
    """Chi-square over the tokens that are expected often enough, the others together."""
    draws = len(tokens)
    assert set(tokens.tolist()) <= set(ids.tolist())
    counts = np.bincount(tokens, minlength=int(ids.max()) + 1)[ids]
    common = draws * chances >= 5
    observed = np.append(counts[common], counts[~common].sum())
    expected = np.append(draws * chances[common], draws * chances[~common].sum())
    present = expected >= 5
    chi_square = float(((observed - expected)[present] ** 2 / expected[present]).sum())
    freedom = max(1, int(present.sum()) - 1)
    assert chi_square < freedom + deviations * np.sqrt(2 * freedom)


@settings(max_examples=70, deadline=None, derandomize=True)
@given(truncations, st.integers(0, 10**6), st.sampled_from([5, 64, 130, 3000, 20000]), st.booleans())
def test_fast_ways_draw_from_the_definition(
    parameters: SamplingParameters, seed: int, vocabulary: int, coarse: bool
) -> None:
    row = make_row(seed, vocabulary)
    if coarse:  # many ties, as low-precision logits have
        row = np.round(row * 2) / 2
    row[seed % vocabulary] = -np.inf
    draws = 500 if vocabulary < 1000 else 60
    ids, chances = row_distribution(row, parameters)
    rows = np.repeat(row[None], draws, 0)
    tokens = DRAWS[choose_method(parameters)](rows, batch.Settings([parameters] * draws), words_for(draws, seed))
    assert tokens.min() >= 0
    if coarse and (parameters.top_p < 1 or parameters.typical_p < 1):
        # Which of several equally likely tokens falls just inside the mass is open; their logits are not.
        assert set(row[tokens].tolist()) <= set(row[ids].tolist())
    else:
        assert_drawn_from(tokens, ids, chances)


@pytest.mark.parametrize("spread", [0.3, 1.5, 4.0])
@pytest.mark.parametrize("min_p", [0.0, 0.2])
def test_tokens_behind_the_front_get_their_share(spread: float, min_p: float) -> None:
    """Without truncation most mass of a flat row lies behind the tokens that race one by one."""
    row = make_row(5, 400, spread)
    parameters = SamplingParameters(min_p=min_p)
    draws = 8000
    rows = np.repeat(row[None], draws, 0)
    tokens = batch.draw_dense(rows, batch.Settings([parameters] * draws), words_for(draws))
    assert_drawn_from(tokens, *row_distribution(row, parameters), deviations=4)


@pytest.mark.parametrize("mass", [0.3, 0.8, 0.97])
@pytest.mark.parametrize("spread", [0.7, 2.0])
def test_the_nucleus_of_a_large_vocabulary(mass: float, spread: float) -> None:
    """Found among the first candidates, among more of them, or by sorting."""
    row = make_row(9, 3000, spread)
    parameters = SamplingParameters(top_p=mass)
    draws = 6000
    tokens = np.concatenate(
        [
            batch.draw_nucleus(np.repeat(row[None], 200, 0), batch.Settings([parameters] * 200), words)
            for words in words_for(draws).reshape(-1, 200)
        ]
    )
    ids, chances = row_distribution(row, parameters)
    assert_drawn_from(tokens, ids, chances, deviations=4)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([3, 63, 64, 65, 5000, 20001]), st.integers(1, 130), st.booleans())
def test_largest_entries(seed: int, vocabulary: int, k: int, coarse: bool) -> None:
    rows = np.stack([make_row(seed + index, vocabulary) for index in range(3)])
    if coarse:
        rows = np.round(rows)
    rows[1, np.random.default_rng(seed).random(vocabulary) < 0.999] = -np.inf  # a grammar leaves few
    rows[2, seed % vocabulary] = np.nan
    k = min(k, vocabulary)
    values, columns = largest(rows, k)
    for row, found, where in zip(rows, values, columns, strict=True):
        finite = found > -np.inf
        if np.isnan(row).any():
            assert np.isnan(found[0])
            continue
        expected = -np.sort(-row)[: int(finite.sum())]
        np.testing.assert_array_equal(found[finite], expected)
        np.testing.assert_array_equal(row[where[finite]], found[finite])
        assert len(set(where[finite].tolist())) == finite.sum()
        # All of the k largest, and all that tie with the k-th.
        kth = max(-np.sort(-row)[k - 1], np.finfo(np.float32).min)
        assert (row >= kth).sum() <= finite.sum()


@pytest.mark.parametrize("temperature", [1e-38, 1e-6])
@pytest.mark.parametrize("other", [{}, {"top_k": 5}, {"top_p": 0.5}, {"typical_p": 0.5}, {"min_p": 0.1}])
def test_temperatures_near_zero_are_greedy(temperature: float, other: dict) -> None:
    row = make_row(1, 300)
    parameters = SamplingParameters(temperature=temperature, **other)
    chosen = DRAWS[choose_method(parameters)](row[None], batch.Settings([parameters]), words_for(1))
    assert chosen.tolist() == [row.argmax()]


def test_penalty_matches_transformers() -> None:
    row = make_row(3, 100)
    history = [5, 9, 9, 70]
    processor = RepetitionPenaltyLogitsProcessor(1.3)
    expected = processor(torch.tensor([history]), torch.from_numpy(row.copy())[None])[0].numpy()
    from llmasos.engine.sampling.penalties import TokenCounts

    counts = TokenCounts(history[:2])
    for token in history[2:]:
        counts.append(token)
    counts.apply(row, 1.3, 0.0, 0.0)
    np.testing.assert_allclose(row, expected)


def test_words_are_those_of_splitmix64() -> None:
    """First outputs of the reference implementation for the state 1234567."""
    reference = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [word_at(1234567, position) for position in range(4)] == reference


def test_numbers_look_random_over_seeds_positions_choices_and_tokens() -> None:
    count = 20000
    token = np.array([[7]])
    series = {
        "seeds": [exponentials(np.array([word_at(stream_key(seed), 0)], np.uint64), token) for seed in range(count)],
        "positions": exponentials(words_for(count), np.full((count, 1), 7)),
        "choices": exponentials(
            np.array([word_at(stream_key(7, choice), 3) for choice in range(count)], np.uint64), np.full((count, 1), 7)
        ),
        "tokens": exponentials(words_for(1), np.arange(count)[None]),
        "uniform": -np.log1p(-np.array([uniform(word) for word in words_for(count).tolist()])),
    }
    for numbers in series.values():
        flat = np.exp(-np.ravel(np.array(numbers)))
        counts = np.histogram(flat, bins=64, range=(0, 1))[0]
        chi_square = float(((counts - count / 64) ** 2 / (count / 64)).sum())
        assert chi_square < 63 + 4 * np.sqrt(2 * 63)
        assert abs(np.corrcoef(flat[:-1], flat[1:])[0, 1]) < 4 / np.sqrt(count)


def test_small_changes_rarely_change_the_winner() -> None:
    """The race with common numbers agrees with probability at least (1 - TV) / (1 + TV)."""
    random = np.random.default_rng(0)
    ids = np.arange(200)[None]
    words = words_for(2000)
    agreed = bound = 0.0
    for word in words:
        logits = random.normal(0, 2, 200)
        first, second = (np.exp(logits + random.normal(0, 0.2, 200))[None] for _ in range(2))
        distance = np.abs(first / first.sum() - second / second.sum()).sum() / 2
        bound += (1 - distance) / (1 + distance)
        agreed += race(first, ids, np.array([word]))[0] == race(second, ids, np.array([word]))[0]
    assert agreed > bound - 4 * np.sqrt(len(words) / 4)
