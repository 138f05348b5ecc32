"""The batch sampler as the engine calls it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos.engine.request import SamplingParameters
from llmasos.engine.sampler import Sampler, SamplingState, TokenMasks, _greedy_on_device
from llmasos.engine.sampling.distribution import row_distribution
from llmasos.engine.sampling.penalties import TokenCounts

VOCABULARY = 1000
PARAMETERS = [
    SamplingParameters(temperature=0),
    SamplingParameters(seed=1),
    SamplingParameters(temperature=0.7, min_p=0.05, seed=2),
    SamplingParameters(temperature=0.9, top_k=20, seed=3),
    SamplingParameters(top_k=300, top_p=0.8, min_p=0.01, typical_p=0.9, seed=4),
    SamplingParameters(temperature=1.5, top_p=0.9, seed=5),
    SamplingParameters(typical_p=0.5, seed=6),
    SamplingParameters(top_k=1100, seed=7),
    SamplingParameters(temperature=0.8, top_k=5, repetition_penalty=1.3, presence_penalty=0.5, seed=8),
    SamplingParameters(temperature=0, frequency_penalty=1.5, logprobs=3),
    SamplingParameters(seed=9, logit_bias={3: 5.0, 4: float("-inf")}, logprobs=0),
    SamplingParameters(seed=10, min_tokens=5, stop_token_ids=(7, 8)),
]


def make_logits(seed: int, rows: int, vocabulary: int = VOCABULARY) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 3, (rows, vocabulary)).astype(np.float32))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(range(len(PARAMETERS))), min_size=1, max_size=12), st.integers(0, 10**6), st.booleans())
def test_a_request_gets_the_same_tokens_whoever_its_neighbours_are(kinds: list[int], seed: int, coarse: bool) -> None:
    prompts = [np.random.default_rng([seed, row]).integers(0, VOCABULARY, 9).tolist() for row in range(len(kinds))]
    logits = [make_logits(seed + step, len(kinds)) for step in range(3)]
    if coarse:
        logits = [step.round() for step in logits]
    sampler = Sampler()

    def states() -> list[SamplingState]:
        return [SamplingState(PARAMETERS[kind], prompt, seed=0) for kind, prompt in zip(kinds, prompts, strict=True)]

    together, alone = states(), states()
    for step in logits:
        batch = sampler.sample(step.clone(), together).tokens
        single = [sampler.sample(step[row : row + 1].clone(), [state]).tokens[0] for row, state in enumerate(alone)]
        assert batch == single
        for state, other, token in zip(together, alone, batch, strict=True):
            state.append(token)
            other.append(token)


@pytest.mark.parametrize("parameters", PARAMETERS[1:8], ids=lambda value: str(value.seed))
def test_chi_square_over_seeds(parameters: SamplingParameters) -> None:
    """With fixed seeds, so the test is deterministic; the bound is 4 standard deviations."""
    draws = 4000
    row = make_logits(11, 1, 120)
    ids, chances = row_distribution(row[0].numpy(), parameters)
    rule = SamplingParameters(**{**{name: getattr(parameters, name) for name in parameters.__slots__}, "seed": None})
    states = [SamplingState(rule, seed=seed) for seed in range(draws)]
    tokens = Sampler().sample(row.repeat(draws, 1), states).tokens
    counts = np.bincount(tokens, minlength=120)
    assert set(np.flatnonzero(counts).tolist()) <= set(ids.tolist())
    expected = draws * chances
    common = expected >= 5
    chi_square = float(((counts[ids] - expected)[common] ** 2 / expected[common]).sum())
    freedom = int(common.sum())
    assert chi_square < freedom + 4 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("kind", range(len(PARAMETERS)))
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_rows_are_named_and_leave_others_alone(kind: int, value: float) -> None:
    logits = make_logits(5, 4)
    clean = Sampler().sample(logits.clone(), [SamplingState(PARAMETERS[kind], seed=9) for _ in range(4)]).tokens
    logits[1, 777] = value
    logits[3] = float("-inf")
    result = Sampler().sample(logits, [SamplingState(PARAMETERS[kind], seed=9) for _ in range(4)])
    assert sorted(result.failures) == [1, 3]
    assert ("NaN" if value != value else "infinite") in result.failures[1]
    assert "no token is allowed" in result.failures[3]
    assert result.tokens == [clean[0], -1, clean[2], -1]
    if result.logprobs is not None:
        assert result.logprobs[1] is None
        assert result.logprobs[0] is not None


def test_broken_value_on_a_forbidden_token_is_still_found() -> None:
    logits = make_logits(5, 2)
    logits[0, 999] = float("nan")
    bits = np.zeros((2, 32), dtype=np.int32)
    bits[:, 0] = 0b1100
    result = Sampler().sample(logits, [SamplingState(PARAMETERS[0])] * 2, masks=TokenMasks([0, 1], bits))
    assert list(result.failures) == [0]
    assert result.tokens[1] in (2, 3)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(PARAMETERS), st.integers(0, 1000), st.sampled_from([31, 100, VOCABULARY]))
def test_masks_forbid(parameters: SamplingParameters, seed: int, vocabulary: int) -> None:
    random = np.random.default_rng(seed)
    allowed = random.random(vocabulary) < random.choice([0.02, 0.5, 0.98])
    allowed[[5, 9]] = True
    bits = np.zeros((vocabulary + 31) // 32 * 4, dtype=np.uint8)
    packed = np.packbits(allowed, bitorder="little")
    bits[: len(packed)] = packed
    masks = TokenMasks([1], bits.view(np.int32)[None])
    parameters = SamplingParameters(
        **{**{name: getattr(parameters, name) for name in parameters.__slots__}, "logit_bias": {}}
    )
    states = [SamplingState(parameters, seed=row) for row in range(2)]
    logits = make_logits(seed, 2, vocabulary)
    raw = logits.clone()
    result = Sampler().sample(logits, states, masks=masks)
    assert allowed[result.tokens[1]]
    if result.logprobs is not None:
        assert result.logprobs[1] is not None
        expected = torch.log_softmax(raw[1], -1)[result.tokens[1]]
        assert result.logprobs[1].logprob == pytest.approx(float(expected), abs=1e-5)


def test_a_mask_narrower_than_the_logits_forbids_the_rest() -> None:
    logits = torch.zeros(1, 100)
    logits[0, 90] = 50
    result = Sampler().sample(
        logits, [SamplingState(PARAMETERS[0])], masks=TokenMasks([0], np.full((1, 2), -1, dtype=np.int32))
    )
    assert result.tokens == [0]


def test_minimum_tokens_suppress_every_end() -> None:
    logits = torch.zeros(1, 20)
    logits[0, [2, 6]] = 30
    parameters = SamplingParameters(temperature=0, min_tokens=2, stop_token_ids=(6,))
    state = SamplingState(parameters, eos_ids=[2])
    assert state.end_ids == {2, 6}
    for expected in (0, 0, 2):
        token = Sampler().sample(logits.clone(), [state]).tokens[0]
        assert token == expected
        state.append(token)
    assert SamplingState(SamplingParameters(ignore_eos=True), eos_ids=[2]).end_ids == frozenset()


def test_minimum_tokens_count_those_of_a_draft() -> None:
    logits = torch.zeros(4, 20)
    logits[:, 6] = 30
    state = SamplingState(SamplingParameters(temperature=0, min_tokens=2, stop_token_ids=(6,)))
    assert Sampler().sample(logits, [state], drafts=[[0, 0, 6]]).tokens == [0, 0, 6, 6]


def test_logit_bias_moves_and_forbids() -> None:
    logits = torch.zeros(1, 20)
    logits[0, 4] = 3
    parameters = SamplingParameters(temperature=0, logit_bias={4: float("-inf"), 9: 0.5})
    assert Sampler().sample(logits, [SamplingState(parameters)]).tokens == [9]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 40), max_size=30),
    st.lists(st.integers(0, 40), max_size=200),
    st.lists(st.integers(0, 40), max_size=10),
)
def test_incremental_penalties_equal_a_recount(prompt: list[int], output: list[int], draft: list[int]) -> None:
    row = make_logits(len(output), 1, 41)[0].numpy()
    expected = row.copy()
    for token in range(41):
        if token in prompt or token in output:
            expected[token] = expected[token] / 1.5 if expected[token] > 0 else expected[token] * 1.5
        expected[token] -= 0.3 * output.count(token) + 0.7 * (token in output)
    counts = TokenCounts(prompt)
    for token in output:
        counts.append(token)
    mark = counts.mark()
    for token in draft:
        counts.append(token)
    counts.undo(draft, mark)
    counts.apply(row, 1.5, 0.3, 0.7)
    np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", range(len(PARAMETERS)))
def test_rows_of_a_draft_get_what_one_by_one_would(kind: int) -> None:
    steps = make_logits(8, 5)
    lone = SamplingState(PARAMETERS[kind], [1, 2, 3], eos_ids=[0], seed=4)
    expected = []
    for step in steps:
        expected += Sampler().sample(step[None].clone(), [lone]).tokens
        lone.append(expected[-1])
    state = SamplingState(PARAMETERS[kind], [1, 2, 3], eos_ids=[0], seed=4)
    other = SamplingState(SamplingParameters(temperature=0))
    logits = torch.cat([steps, steps[:1]])
    result = Sampler().sample(logits, [state, other], drafts=[expected[:4], []])
    assert result.tokens[:5] == expected
    assert result.tokens[5] == int(steps[0].argmax())
    assert state.position == 0


def test_choices_of_one_request_differ_and_repeat() -> None:
    logits = make_logits(1, 1).repeat(8, 1) * 0.1
    parameters = SamplingParameters(seed=5, n=8)
    tokens = [
        Sampler().sample(logits.clone(), [SamplingState(parameters, choice=choice) for choice in range(8)]).tokens
        for _ in range(2)
    ]
    assert tokens[0] == tokens[1]
    assert len(set(tokens[0])) == 8
    assert SamplingState(SamplingParameters()).seed != SamplingState(SamplingParameters()).seed


@pytest.mark.parametrize("edited", [False, True])
def test_logprobs_are_of_the_raw_distribution(edited: bool) -> None:
    logits = make_logits(2, 3)
    raw = torch.log_softmax(logits.clone(), -1)
    bias = {7: 100.0} if edited else {}
    states = [
        SamplingState(SamplingParameters(temperature=0.5, logprobs=4, logit_bias=bias), seed=1),
        SamplingState(SamplingParameters(temperature=0)),
        SamplingState(SamplingParameters(n=1, best_of=2, seed=3)),
    ]
    result = Sampler().sample(logits, states)
    assert result.logprobs is not None
    first, none, third = result.logprobs
    assert none is None
    assert first is not None
    assert third is not None
    assert first.token_id == result.tokens[0]
    assert (first.token_id == 7) or not edited
    assert first.logprob == pytest.approx(float(raw[0, first.token_id]), abs=1e-5)
    values, ids = raw[0].topk(4)
    assert [token for token, _ in first.top] == ids.tolist()
    assert [value for _, value in first.top] == pytest.approx(values.tolist(), abs=1e-5)
    assert third.top == ()
    states[2].append(third.token_id, third.logprob)
    assert states[2].mean_logprob == pytest.approx(float(raw[2, third.token_id]), abs=1e-5)


def test_greedy_rows_on_a_device_are_chosen_there() -> None:
    """The way taken on an accelerator, here on the CPU's tensors."""
    logits = make_logits(3, 4)
    expected = Sampler().sample(logits.clone(), [SamplingState(PARAMETERS[0]) for _ in range(4)]).tokens
    logits[1, 5] = float("nan")
    logits[2] = float("-inf")
    result = _greedy_on_device(logits)
    assert result.tokens == [expected[0], -1, -1, expected[3]]
    assert sorted(result.failures) == [1, 2]


def test_rows_and_states_must_agree() -> None:
    with pytest.raises(ValueError, match="2 rows of logits for 1 rows"):
        Sampler().sample(torch.zeros(2, 5), [SamplingState(PARAMETERS[0])])
    assert Sampler().sample(torch.zeros(0, 5), []).tokens == []
