"""Speculation never changes an output; and how much of it there is follows from chances and costs."""

from __future__ import annotations

import time
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmasos.engine.request import SamplingParameters
from llmasos.engine.sampler import Sampler, SamplingState
from llmasos.engine.sampling.distribution import row_distribution
from llmasos.engine.sequence import Sequence
from llmasos.engine.speculation.costs import PassCosts
from llmasos.engine.speculation.draft_model import DraftModelProposer
from llmasos.engine.speculation.prompt_lookup import PromptLookupProposer
from llmasos.engine.speculation.speculator import Speculator

VOCABULARY = 32
PARAMETERS = [
    SamplingParameters(temperature=0),
    SamplingParameters(seed=1),
    SamplingParameters(temperature=0.5, top_k=5, seed=2),
    SamplingParameters(temperature=2.0, top_p=0.8, seed=3),
    SamplingParameters(temperature=0.8, repetition_penalty=1.4, frequency_penalty=0.5, top_k=20, seed=4),
    SamplingParameters(seed=5, typical_p=0.7, min_tokens=12, stop_token_ids=(3,)),
    SamplingParameters(seed=6, min_p=0.1, logit_bias={4: 1.0}),
]


def make_sequence(tokens: list[int], parameters: SamplingParameters, *, identity: int = 1, limit: int = 100) -> Any:
    sequence = Sequence(identity, list(tokens), limit=limit)
    sequence.output = SimpleNamespace(  # type: ignore[assignment]
        sampling=SamplingState(parameters, tokens, seed=0), grammar=None
    )
    return sequence


def verify(runner: Any, sequence: Any, draft: list[int]) -> int:
    """One pass: the rows of a draft, the sampler's choices, and what stands of the draft. Returns the accepted."""
    state: SamplingState = sequence.output.sampling
    rows = [runner.logits_of([*sequence.tokens, *draft[:length]], 0) for length in range(len(draft) + 1)]
    tokens = Sampler().sample(torch.from_numpy(np.stack(rows)), [state], drafts=[draft]).tokens
    accepted = 0
    while accepted < len(draft) and tokens[accepted] == draft[accepted]:
        accepted += 1
    for token in tokens[: accepted + 1]:
        sequence.tokens.append(token)
        state.append(token)
    return accepted


def plain(runner: Any, tokens: list[int], parameters: SamplingParameters, count: int) -> list[int]:
    sequence = make_sequence(tokens, parameters)
    while len(sequence.tokens) < len(tokens) + count:
        verify(runner, sequence, [])
    return list(sequence.tokens)


@pytest.mark.parametrize("parameters", PARAMETERS, ids=range(len(PARAMETERS)))
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_drafts_leave_the_output_as_it_is(
    parameters: SamplingParameters, make_runner: Any, data: st.DataObject
) -> None:
    runner = make_runner()
    prompt = data.draw(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=5))
    expected = plain(runner, prompt, parameters, 30)
    sequence = make_sequence(prompt, parameters)
    accepted = 0
    while len(sequence.tokens) < len(expected):
        # Right for a while, then anything.
        right = data.draw(st.integers(0, 4))
        draft = expected[len(sequence.tokens) :][:right]
        draft += data.draw(st.lists(st.integers(0, VOCABULARY - 1), max_size=3))
        found = verify(runner, sequence, draft)
        assert found >= min(right, len(expected) - len(sequence.tokens) + found)
        accepted += found
    assert sequence.tokens[: len(expected)] == expected


def test_the_distribution_of_outputs_is_that_of_the_model(make_runner: Any) -> None:
    """Chi-square over seeds: three tokens under speculation against the product of the exact probabilities."""
    runner = make_runner(vocabulary_size=6)
    rules = {"temperature": 0.9, "top_k": 4}
    expected: dict[tuple[int, ...], float] = {}

    def enumerate_outputs(tokens: tuple[int, ...], chance: float) -> None:
        if len(tokens) == 4:
            expected[tokens[1:]] = chance
            return
        ids, chances = row_distribution(runner.logits_of(tokens, 0), SamplingParameters(**rules))
        for token, each in zip(ids.tolist(), chances.tolist(), strict=True):
            enumerate_outputs((*tokens, token), chance * each)

    enumerate_outputs((0,), 1.0)
    likely = max(expected, key=lambda output: expected[output])
    draws = 4000
    counts: Counter[tuple[int, ...]] = Counter()
    for seed in range(draws):
        sequence = make_sequence([0], SamplingParameters(seed=seed, **rules))
        while len(sequence.tokens) < 4:
            verify(runner, sequence, list(likely[len(sequence.tokens) - 1 :]))
        counts[tuple(sequence.tokens[1:4])] += 1
    assert set(counts) <= set(expected)
    common = [output for output, chance in expected.items() if chance * draws >= 5]
    chi_square = sum((counts[output] - draws * expected[output]) ** 2 / (draws * expected[output]) for output in common)
    assert chi_square < len(common) + 4 * (2 * len(common)) ** 0.5


class Scripted:
    """A proposer whose guesses are right with known chances."""

    def __init__(self, chances: dict[int, list[float]], seconds: float = 0.0) -> None:
        self._chances = chances
        self.seconds_per_token = seconds
        self.told: list[tuple[int, int, int]] = []

    def chances(self, sequence: Any, limit: int) -> list[float]:
        return self._chances[sequence.id][:limit]

    def propose(self, wishes: Any) -> list[list[int]]:
        return [[9] * count for _, count in wishes]

    def verified(self, sequence: Any, proposed: int, accepted: int) -> None:
        self.told.append((sequence.id, proposed, accepted))

    def forget(self, sequence: Any) -> None:
        del self._chances[sequence.id]


def drafts(
    chances: dict[int, list[float]], costs: dict[int, float], *, seconds: float = 0.0, **options: Any
) -> dict[int, int]:
    speculator = Speculator(Scripted(chances, seconds))
    for rows, duration in list(costs.items()) * 100:
        speculator.passed(rows, duration)
    sequences = [make_sequence([1], PARAMETERS[0], identity=identity, **options) for identity in chances]
    speculator.prepare(sequences)
    return {sequence.id: len(speculator.draft(sequence)) for sequence in sequences}


def test_nothing_is_guessed_before_a_pass_was_measured() -> None:
    assert drafts({1: [1.0] * 9}, {}) == {1: 0}


def test_cheap_rows_make_long_drafts_and_dear_rows_none() -> None:
    good, poor = [0.9] * 24, [0.3] * 24
    cheap = {1: 6.0, 9: 6.4}  # one stream of a model whose weights are read once per pass
    dear = {1: 1.0, 9: 8.0}  # rows cost nearly as much as passes
    assert drafts({1: good}, cheap)[1] > 12
    assert 1 <= drafts({1: poor}, cheap)[1] < 5
    assert drafts({1: good}, dear)[1] <= 2
    assert drafts({1: poor}, dear)[1] == 0


def test_rows_go_to_the_sequences_that_make_most_of_them() -> None:
    costs = {1: 6.0, 4: 6.6, 16: 9.0, 32: 15.0}
    counts = drafts({1: [0.95] * 24, 2: [0.8] * 24, 3: [], 4: [0.1] * 24}, costs)
    assert counts[1] > counts[2] > 0 == counts[3] == counts[4]
    full = {16: 9.0, 24: 12.0, 32: 15.0}  # in a full batch a row costs as much as half a token is worth
    assert sum(drafts({identity: [0.5] * 24 for identity in range(16)}, full).values()) == 0
    assert sum(drafts({identity: [0.95] * 24 for identity in range(16)}, full).values()) > 0


def test_the_choice_is_the_best_by_its_own_measure() -> None:
    """Against trying all lengths for one sequence: tokens per second are highest."""
    costs = {1: 5.0, 5: 6.0, 9: 8.0, 17: 13.0}
    chances = [0.97, 0.9, 0.9, 0.8, 0.8, 0.7, 0.9, 0.5, 0.5]
    table = PassCosts()
    for rows, duration in list(costs.items()) * 100:
        table.record(rows, duration)

    def speed(count: int) -> float:
        return (1 + sum(np.prod(chances[: each + 1]) for each in range(count))) / table.seconds(1 + count)

    best = max(range(len(chances) + 1), key=speed)
    assert drafts({1: chances}, costs)[1] == best


def test_guesses_that_cost_time_themselves_must_be_worth_it() -> None:
    costs = {1: 6.0, 9: 6.4}
    assert drafts({1: [0.6] * 24}, costs, seconds=0.1)[1] > 2
    assert drafts({1: [0.6] * 24}, costs, seconds=4.0)[1] == 0


def test_a_proposer_that_fails_is_switched_off(caplog: pytest.LogCaptureFixture) -> None:
    speculator = Speculator(Scripted({}))  # knows no sequence
    speculator.passed(1, 6.0)
    sequence = make_sequence([1], PARAMETERS[0])
    for _ in range(2):
        speculator.prepare([sequence])
        assert speculator.draft(sequence) == []
    assert speculator.failed
    assert [record.message for record in caplog.records] == ["guessing tokens failed; speculation is off from now on"]


def test_time_spent_on_guessing_is_not_a_cost_of_rows() -> None:
    class Slow(Scripted):
        def propose(self, wishes: Any) -> list[list[int]]:
            time.sleep(0.05)
            return super().propose(wishes)

    speculator = Speculator(Slow({1: [0.9] * 4}))
    speculator.passed(1, 6.0)
    speculator.prepare([make_sequence([1], PARAMETERS[0])])
    for _ in range(300):
        speculator.passed(5, 7.0 + 0.05)
    assert 6.9 < speculator.costs.seconds(5) < 7.001


def test_drafts_end_with_the_output() -> None:
    cheap = {1: 6.0, 33: 6.1}
    assert drafts({1: [1.0] * 24}, cheap, limit=8)[1] == 6
    assert drafts({1: [1.0] * 24}, cheap, limit=2)[1] == 0
    speculator = Speculator(Scripted({1: [1.0] * 24}))
    speculator.passed(1, 6.0)
    speculator.passed(33, 6.1)
    sequence = make_sequence([1], SamplingParameters(stop_token_ids=(9,)))
    speculator.prepare([sequence])
    assert speculator.draft(sequence) == [9]  # an end token, and nothing after it
    sequence.output.grammar = SimpleNamespace(accepted=lambda draft: 0)
    speculator.prepare([sequence])
    assert speculator.draft(sequence) == []
    speculator.verified(sequence, 3, 2)
    assert (speculator.proposed, speculator.accepted) == (3, 2)
    speculator.forget(sequence)


def test_costs_are_learnt() -> None:
    costs = PassCosts()
    assert not costs.known
    costs.record(4, 5.0)
    assert costs.seconds(4) == pytest.approx(5.0)
    assert costs.of_one_more(4) == pytest.approx(0.125)  # assumed: a tenth of an average row
    for _ in range(50):
        for rows in (1, 5, 9):
            costs.record(rows, 4.0 + 0.5 * rows)
    assert costs.seconds(3) == pytest.approx(5.5, rel=0.02)
    assert costs.seconds(17) == pytest.approx(12.5, rel=0.02)
    assert costs.of_one_more(4) == pytest.approx(0.5, rel=0.02)
    for _ in range(600):  # another load of the machine
        for rows in (1, 5):
            costs.record(rows, 9.0 + rows)
    assert costs.of_one_more(4) == pytest.approx(1.0, rel=0.05)
    costs.record(500, 50.0)
    costs.record(300, 30.0)
    assert costs.seconds(400) == pytest.approx(40.0, rel=0.01)
    assert costs.of_one_more(4) == pytest.approx(1.0, rel=0.05)
    for _ in range(50):
        costs.record(9, 0.1)
    assert costs.of_one_more(4) > 0
    assert costs.seconds(64) > 0


def test_one_disturbed_pass_does_not_end_speculation() -> None:
    costs = PassCosts()
    for _ in range(20):
        costs.record(1, 5.0)
    before = costs.of_one_more(1)
    costs.record(5, 1000.0)
    assert costs.of_one_more(1) < 3 * 5.0
    for _ in range(700):
        costs.record(1, 5.0)
    assert costs.of_one_more(1) < 1.3 * before


def run(runner: Any, speculator: Speculator, sequence: Any, count: int, *, slope: float = 0.02) -> int:
    """Decode with speculation on a machine whose rows cost ``slope`` of a pass; returns the passes."""
    passes = 0
    end = len(sequence.tokens) + count
    while len(sequence.tokens) < end:
        speculator.prepare([sequence])
        draft = speculator.draft(sequence)
        accepted = verify(runner, sequence, draft)
        if draft:
            speculator.verified(sequence, len(draft), accepted)
        speculator.passed(1 + len(draft), 1.0 + slope * len(draft))
        passes += 1
    return passes


class Copier:
    """A model that mostly writes its prompt again."""

    vocabulary_size = VOCABULARY

    def __init__(self, text: list[int]) -> None:
        self._text = text

    def logits_of(self, tokens: list[int], name: int) -> np.ndarray:
        logits = np.zeros(VOCABULARY, dtype=np.float32)
        logits[self._text[(len(tokens) - len(self._text)) % len(self._text)]] = 8.0
        return logits


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_copying_text_takes_few_passes_and_free_text_none_in_vain(temperature: float, make_runner: Any) -> None:
    text = np.random.default_rng(1).integers(0, VOCABULARY, 60).tolist()
    parameters = SamplingParameters(temperature=temperature, seed=4)
    copying = make_sequence(text, parameters, limit=1000)
    assert run(Copier(text), Speculator(PromptLookupProposer()), copying, 200) < 200 / 4
    assert copying.tokens[:250] == plain(Copier(text), text, parameters, 200)[:250]

    free = make_sequence(text, parameters, limit=1000)
    speculator = Speculator(PromptLookupProposer())
    passes = run(make_runner(), speculator, free, 300, slope=0.1)
    assert speculator.proposed < 0.2 * passes


class NoisyRunner:
    """The model ``make_runner`` gives, with logits that are a little off."""

    def __init__(self, runner: Any, noise: float) -> None:
        self._runner = runner
        self._noise = noise
        self._random = np.random.default_rng(3)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def forward(self, batch: Any) -> torch.Tensor:
        logits: torch.Tensor = self._runner.forward(batch)
        shape = tuple(logits.shape)
        return logits + torch.from_numpy(self._random.normal(0, self._noise, shape).astype(np.float32))


@pytest.mark.parametrize("parameters", PARAMETERS, ids=range(len(PARAMETERS)))
def test_a_draft_model_equal_to_the_model_is_always_right(parameters: SamplingParameters, make_runner: Any) -> None:
    runner = make_runner()
    target = make_runner()
    target.name_of = lambda adapter, steering=None: 0
    runner.name_of = target.name_of
    proposer = DraftModelProposer(runner, 64, vocabulary_size=VOCABULARY)
    speculator = Speculator(proposer)
    speculator.passed(1, 1.0)
    expected = plain(target, [1, 2, 3], parameters, 40)
    sequence = make_sequence([1, 2, 3], parameters)
    proposer.seconds_per_token = 1e-9
    passes = run(target, speculator, sequence, 40)
    assert sequence.tokens[: len(expected)] == expected
    assert speculator.accepted == speculator.proposed > 0
    assert passes < 20


def test_a_draft_model_that_errs_is_rewound(make_runner: Any) -> None:
    """Its cache must hold the true tokens: the runner computes from the cache, and asserts what it finds there."""
    target = make_runner()
    target.name_of = lambda adapter, steering=None: 0
    draft_runner = make_runner()
    draft_runner.name_of = target.name_of
    proposer = DraftModelProposer(NoisyRunner(draft_runner, 0.4), 40, vocabulary_size=VOCABULARY)
    speculator = Speculator(proposer)
    speculator.passed(1, 1.0)
    sequences = [make_sequence([index, 2, 3], PARAMETERS[1 + index], identity=index) for index in range(3)]
    expected = [plain(target, [index, 2, 3], PARAMETERS[1 + index], 40) for index in range(3)]
    for number in range(60):
        proposer.seconds_per_token = 1e-9
        asked = [sequence for sequence in sequences if (number + sequence.id) % 3]  # not always worth it
        speculator.prepare(asked)
        for sequence in asked:  # what the cache holds of each sequence was computed from its true tokens
            shadow = proposer._shadows[sequence.id]
            stored = draft_runner.cache[shadow.table].reshape(-1, 3)[: min(shadow.computed, len(sequence.tokens)), 0]
            assert stored.tolist() == sequence.tokens[: len(stored)]
            assert len(stored) == len(sequence.tokens) or not speculator.draft(sequence)
        for sequence in sequences:
            draft = speculator.draft(sequence)
            if len(sequence.tokens) < 50:
                accepted = verify(target, sequence, draft)
                if draft:
                    speculator.verified(sequence, len(draft), accepted)
        speculator.passed(3, 1.0)
    for sequence, tokens in zip(sequences, expected, strict=True):
        assert sequence.tokens[: len(tokens)] == tokens
    assert 30 < speculator.accepted < speculator.proposed
    for sequence in sequences:
        speculator.forget(sequence)
    assert sorted(proposer._free) == list(range(40))


def test_guesses_that_came_true_without_being_verified_are_followed_by_others(make_runner: Any) -> None:
    """A draft may be cut after it was guessed; the sampler then chooses the rest by itself."""
    runner = make_runner()
    runner.name_of = lambda adapter, steering=None: 0
    proposer = DraftModelProposer(runner, 64, vocabulary_size=VOCABULARY)
    sequence = make_sequence([1, 2, 3], PARAMETERS[0])
    expected = plain(runner, [1, 2, 3], PARAMETERS[0], 12)
    assert proposer.propose([(sequence, 4)]) == [expected[3:7]]
    verify(runner, sequence, expected[3:5])
    assert sequence.tokens == expected[:6]
    assert proposer.propose([(sequence, 4)]) == [expected[6:10]]


def test_long_prompts_and_full_caches_of_the_draft_model(make_runner: Any) -> None:
    runner = make_runner(context_length=4000)
    proposer = DraftModelProposer(runner, 300, vocabulary_size=VOCABULARY)
    long = make_sequence(list(np.arange(1100) % VOCABULARY), PARAMETERS[0], limit=4000)
    assert [proposer.propose([(long, 3)]) for _ in range(2)] == [[[]], [[]]]  # 512 tokens of the prompt each
    assert len(proposer.propose([(long, 3)])[0]) == 3
    other = make_sequence([1, 2], PARAMETERS[0], identity=2, limit=4000)
    huge = make_sequence([1] * 1300, PARAMETERS[0], identity=3, limit=4000)
    assert len(proposer.propose([(other, 2)])[0]) == 2
    assert proposer.propose([(huge, 2)]) == [[]]  # needs more than the cache has
    assert len(proposer.propose([(long, 2)])[0]) in (0, 2)
    assert proposer.chances(make_sequence([1] * 3999, PARAMETERS[0], identity=4, limit=4000), 2) == []
