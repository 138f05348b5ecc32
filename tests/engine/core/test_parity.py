"""Whatever is in the batch beside it, a request gives what it gives alone."""

from __future__ import annotations

import random
from typing import Any

import pytest

from llmasos.engine.request import Request, SamplingParameters


def _sampling(numbers: random.Random, **values: Any) -> SamplingParameters:
    kind = numbers.randrange(5)
    chosen: dict[str, Any] = {"seed": numbers.randrange(1000), "max_tokens": numbers.randint(1, 14)}
    if kind == 0:
        chosen["temperature"] = 0.0
    elif kind == 1:
        chosen |= {"temperature": 0.7, "top_p": 0.9}
    elif kind == 2:
        chosen |= {"top_k": 5, "repetition_penalty": 1.2, "logprobs": 2}
    elif kind == 3:
        chosen |= {"n": numbers.randint(1, 4), "presence_penalty": 0.5}
    return SamplingParameters(**chosen | values)


def _request(numbers: random.Random) -> Request:
    shared = [1] * numbers.choice((0, 6, 17, 30))
    prompt = shared + [numbers.randrange(4) for _ in range(numbers.randint(1, 12))]
    return Request(
        prompt, _sampling(numbers), adapter=numbers.choice((None, None, "lora-a", "lora-b")),
        steering=numbers.choice((None, None, None, ("layer", 3))), priority=numbers.choice((0, 0, 1, -2)),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(25))
def test_same_tokens_as_alone(seed: int, make_core: Any, make_any_runner: Any) -> None:
    numbers = random.Random(seed)
    harness = make_core(
        make_any_runner(block_size=numbers.choice((2, 4, 8))),
        blocks=numbers.choice((24, 40, 200)),
        max_batch_tokens=numbers.choice((8, 20, 64)),
        max_sequences=numbers.choice((3, 16)),
    )
    started = []
    for _ in range(12):
        request = _request(numbers)
        started.append((request, harness.add(request)))
        harness.step(numbers.randint(0, 4))
    harness.finish()
    for request, active in started:
        result = harness.result(active)
        assert [output.token_ids for output in result.outputs] == [
            harness.reference(request, choice) for choice in range(request.sampling.n)
        ]
        assert result.usage.completion_tokens == sum(len(output.token_ids) for output in result.outputs)
        if request.sampling.logprobs is not None:
            assert all(len(output.logprobs or ()) == len(output.token_ids) for output in result.outputs)


def test_the_schedules_above_meet_every_case(make_core: Any, make_runner: Any) -> None:
    """A parity test that never preempts, copies or finds a prefix would prove little."""
    preemptions = copies = cached = evictions = 0
    for seed in range(8):
        numbers = random.Random(seed)
        harness = make_core(make_runner(block_size=4), blocks=24, max_batch_tokens=20, max_sequences=8)
        for _ in range(12):
            harness.add(_request(numbers))
            harness.step(numbers.randint(0, 2))
        harness.finish()
        preemptions += harness.core.scheduler.preemptions
        copies += harness.core.cache.copies
        cached += harness.core.cached_tokens
        evictions += harness.core.cache.evictions
    assert min(preemptions, copies, cached, evictions) > 5, (preemptions, copies, cached, evictions)


def test_a_second_run_finds_the_prompt_and_changes_nothing(make_core: Any, make_runner: Any) -> None:
    harness = make_core(make_runner(block_size=4))
    request = Request(list(range(20)), SamplingParameters(temperature=0.0, max_tokens=6))
    first, second = harness.serve(request)[0], harness.serve(request)[0]
    assert first.token_ids == second.token_ids
    assert first.usage.cached_tokens == 0
    assert second.usage.cached_tokens == 19, "16 in full blocks, 3 copied, the last is always computed"


def test_a_conversation_finds_its_past(make_core: Any, make_runner: Any) -> None:
    harness = make_core(make_runner(block_size=4))
    turn = list(range(10))
    for _ in range(4):
        result = harness.serve(Request(turn, SamplingParameters(temperature=0.0, max_tokens=6)))[0]
        assert result.usage.cached_tokens >= (len(turn) - 8) // 4 * 4 if len(turn) > 10 else True
        turn = turn + result.token_ids + [5, 6, 7]


def test_reuse_can_be_refused(make_core: Any, make_runner: Any) -> None:
    harness = make_core(make_runner(block_size=4))
    request = Request(list(range(20)), SamplingParameters(temperature=0.0, max_tokens=2), reuse_prefix=False)
    assert [harness.serve(request)[0].usage.cached_tokens for _ in range(2)] == [0, 0]


def test_steering_and_adapters_share_no_prefix(make_core: Any, make_runner: Any) -> None:
    harness = make_core(make_runner(block_size=4))
    cases: list[dict[str, Any]] = [
        {},
        {"adapter": "a"},
        {"adapter": "b"},
        {"steering": ("x", 1)},
        *[{"steering": [1]}] * 2,
    ]
    for values in cases:
        request = Request(list(range(20)), SamplingParameters(temperature=0.0, max_tokens=3), **values)
        result = harness.serve(request)[0]
        assert result.usage.cached_tokens == 0
        assert result.token_ids == harness.reference(request)


def test_sixteen_requests_compute_a_common_prefix_once(make_core: Any, make_runner: Any) -> None:
    runner = make_runner(block_size=16, context_length=2048)
    harness = make_core(runner, blocks=1000, max_batch_tokens=512, max_sequences=32)
    prefix = [number % 31 for number in range(1000)]
    greedy = SamplingParameters(temperature=0.0, max_tokens=1)
    requests = [Request([*prefix, 7, number], greedy) for number in range(16)]
    results = harness.serve(*requests)
    assert runner.rows <= 1002 + 15 * 12, "the prefix is 62 full blocks; 8 tokens more are in a block that differs"
    assert [result.token_ids for result in results] == [harness.reference(request) for request in requests]
    assert sum(result.usage.cached_tokens >= 992 for result in results) == 15


def test_prefix_found_in_the_middle_of_a_prefill_is_adopted(make_core: Any, make_runner: Any) -> None:
    """A request that goes first by priority computes the prefix that an earlier one has begun with."""
    runner = make_runner(block_size=4)
    harness = make_core(runner, blocks=100, max_batch_tokens=8)
    prompt = [number % 7 for number in range(64)]
    slow = Request([*prompt, 1], SamplingParameters(temperature=0.0, max_tokens=2))
    fast = Request([*prompt, 2], SamplingParameters(temperature=0.0, max_tokens=2), priority=5)
    first = harness.add(slow)
    harness.step()
    second = harness.add(fast)
    harness.finish()
    assert runner.rows < 64 + 40, "two times 65 if nothing were shared"
    assert harness.result(first).token_ids == harness.reference(slow)
    assert harness.result(second).token_ids == harness.reference(fast)
