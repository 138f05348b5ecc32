from __future__ import annotations

import math

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from llmasos.modeling.options import SamplingOptions
from llmasos.modeling.sampler import Sampler

VOCABULARY = 3000


def sampler(context: tuple[int, ...] = (), end_ids: tuple[int, ...] = (), **options: object) -> Sampler:
    return Sampler(SamplingOptions().updated(options), end_ids=end_ids, context=context)


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(1)) * 3


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.7},
        {"temperature": 1.3, "top_k": 40},
        {"temperature": 1.0, "top_p": 0.9},
        {"temperature": 1.5, "top_p": 0.999},
        {"temperature": 0.8, "top_k": 50, "top_p": 0.8},
        {"temperature": 1.0, "min_p": 0.05},
        {"temperature": 1.2, "top_k": 100, "top_p": 0.95, "min_p": 0.02},
        {"temperature": 1.0, "top_k": VOCABULARY + 5},
    ],
)
def test_the_distribution_is_that_of_transformers(options: dict[str, float], logits: torch.Tensor) -> None:
    weights, ids = sampler(**options).distribution(logits)
    ours = torch.zeros(VOCABULARY)
    ours[ids if ids is not None else torch.arange(VOCABULARY)] = weights / weights.sum()
    warpers = LogitsProcessorList([TemperatureLogitsWarper(float(options["temperature"]))])
    if "top_k" in options:
        warpers.append(TopKLogitsWarper(int(options["top_k"])))
    if "top_p" in options:
        warpers.append(TopPLogitsWarper(options["top_p"]))
    if "min_p" in options:
        warpers.append(MinPLogitsWarper(options["min_p"]))
    theirs = warpers(torch.zeros(1, 1, dtype=torch.long), logits[None].clone())[0].softmax(-1)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


def test_drawing_follows_the_distribution() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -50.0])
    chooser = sampler(temperature=1.0, seed=3)
    counts = torch.zeros(4)
    for _ in range(4000):
        counts[chooser.choose(logits)[0]] += 1
    torch.testing.assert_close(counts / 4000, logits.softmax(-1), atol=0.03, rtol=0)


def test_penalties_are_those_of_their_definitions(logits: torch.Tensor) -> None:
    context = (5, 6, 5)
    chooser = sampler(context, repetition_penalty=1.7, logprobs=None)
    reference = RepetitionPenaltyLogitsProcessor(1.7)(torch.tensor([context]), logits[None].clone())[0]
    assert chooser.choose(logits)[0] == int(reference.argmax())
    # presence and frequency: of the output only, and growing with each time
    flat = torch.zeros(10)
    flat[3], flat[4], flat[5] = 3.0, 2.6, 2.45
    chooser = sampler((3, 3, 3), presence_penalty=0.3, frequency_penalty=0.2)
    assert [chooser.choose(flat)[0] for _ in range(4)] == [3, 4, 3, 5]


def test_seeds(logits: torch.Tensor) -> None:
    def draw(seed: int | None) -> list[int]:
        chooser = sampler(temperature=1.5, seed=seed)
        return [chooser.choose(logits)[0] for _ in range(20)]

    state = torch.random.get_rng_state()
    assert draw(7) == draw(7)
    assert draw(7) != draw(8)
    assert draw(None) != draw(None)
    assert torch.equal(state, torch.random.get_rng_state()), "the global generator must stay alone"


def test_a_tiny_temperature_is_greedy_and_not_undefined(logits: torch.Tensor) -> None:
    chooser = sampler(temperature=1e-30)
    assert all(chooser.choose(logits)[0] == int(logits.argmax()) for _ in range(5))


def test_end_tokens_are_impossible_before_the_minimum() -> None:
    logits = torch.tensor([5.0, 4.0, 1.0])
    chooser = sampler(end_ids=(0,), min_tokens=2)
    assert [chooser.choose(logits)[0] for _ in range(4)] == [1, 1, 0, 0]


def test_bias_moves_and_forbids() -> None:
    logits = torch.tensor([5.0, 4.0, 1.0])
    assert sampler(logit_bias={0: -math.inf}).choose(logits)[0] == 1
    assert sampler(logit_bias={2: 10.0}).choose(logits)[0] == 2


def test_logprobs_are_those_of_the_model_before_any_rule(logits: torch.Tensor) -> None:
    token, logprob = sampler(temperature=0.1, top_k=1, logprobs=3).choose(logits)
    expected = logits.log_softmax(-1)
    assert logprob is not None
    assert logprob.token_id == token
    assert logprob.logprob == pytest.approx(float(expected[token]), abs=1e-5)
    assert [item[0] for item in logprob.top] == expected.topk(3).indices.tolist()
    assert sampler(logprobs=0).choose(logits)[1].top == ()  # type: ignore[union-attr]
    assert sampler().choose(logits)[1] is None


def test_logits_are_not_changed(logits: torch.Tensor) -> None:
    before = logits.clone()
    sampler((1, 2), repetition_penalty=2.0, logit_bias={4: 3.0}, temperature=0.5, top_p=0.5).choose(logits)
    assert torch.equal(before, logits)
