"""Measuring an engine: what is counted, what is refused."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch

from llmasos.engine.batch import Batch
from llmasos.engine.benchmark import Percentiles, Workload, ceiling, measure, peak_memory, warm_up
from llmasos.engine.engine import Engine
from llmasos.engine.options import EngineOptions
from llmasos.errors import InvalidRequest, LLMasOSError

PASS_SECONDS = 0.004


@pytest.fixture
def slow_runner(make_runner):
    """Every pass takes at least a known time."""
    runner = make_runner(context_length=128)

    def wait(batch: Batch, logits: torch.Tensor) -> torch.Tensor:
        time.sleep(PASS_SECONDS)
        return logits

    runner.fault = wait
    return runner


@pytest.fixture
def engine(slow_runner) -> Iterator[Engine]:
    options = EngineOptions(cache_bytes=128 * slow_runner.bytes_per_block, prompt_lookup=False)
    with Engine(slow_runner, eos_token_ids=[2], options=options) as opened:
        yield opened


def test_counts_and_times(engine: Engine) -> None:
    workload = Workload(streams=3, prompt_tokens=20, new_tokens=12)
    run = measure(engine, workload)
    assert run.output_tokens == 36  # end tokens end nothing
    assert run.passes >= 12
    assert run.seconds >= run.passes * PASS_SECONDS
    assert run.tokens_per_second == pytest.approx(36 / run.seconds)
    assert PASS_SECONDS <= run.first_token.p50 <= run.first_token.p95 <= run.first_token.p99 < run.seconds
    assert run.pause is not None
    assert PASS_SECONDS <= run.pause.p50 <= run.pause.p95 <= run.pause.p99
    assert run.decode_tokens_per_second is not None
    assert run.decode_tokens_per_second < 1.3 * 3 / PASS_SECONDS  # a pass gives three; the first may be counted in part
    assert run.prompt_tokens_per_second == pytest.approx(60 / run.first_token.p99)
    assert (run.preemptions, run.guessed_tokens, run.accepted_tokens) == (0, 0, 0)


def test_runs_do_not_help_each_other(engine: Engine, slow_runner) -> None:
    workload = Workload(streams=2, prompt_tokens=16, new_tokens=2)
    rows = []
    for _ in range(2):
        before = slow_runner.rows
        measure(engine, workload, seed=5)
        rows.append(slow_runner.rows - before)
    assert rows[0] == rows[1] == 2 * (16 + 1)


def test_other_seeds_are_other_prompts(engine: Engine, slow_runner) -> None:
    measure(engine, Workload(1, 16, 1), seed=1)
    first = slow_runner.cache[:, :, 0].copy()
    measure(engine, Workload(1, 16, 1), seed=2)
    assert (slow_runner.cache[:, :, 0] != first).any()


def test_one_token_has_neither_pauses_nor_decoding(engine: Engine) -> None:
    run = measure(engine, Workload(1, 8, 1))
    assert run.output_tokens == 1
    assert run.pause is None
    assert run.decode_tokens_per_second is None


def test_guesses_are_counted(make_runner) -> None:
    runner = make_runner(context_length=128)

    def always_five(batch: object, logits: torch.Tensor) -> torch.Tensor:
        time.sleep(0.003)  # a pass costs time and its rows nearly none: guesses pay
        return torch.nn.functional.one_hot(torch.full((len(logits),), 5), 32).float()

    runner.fault = always_five  # everything is a repetition
    with Engine(runner, options=EngineOptions(cache_bytes=64 * runner.bytes_per_block)) as engine:
        run = measure(engine, Workload(1, 8, 64))
    assert run.output_tokens == 64
    assert run.accepted_tokens > 0
    assert run.passes < 64


def test_a_cache_that_is_too_small_shows(make_runner) -> None:
    runner = make_runner(context_length=128)
    options = EngineOptions(cache_bytes=12 * runner.bytes_per_block, prompt_lookup=False)
    with Engine(runner, options=options) as engine:
        run = measure(engine, Workload(streams=4, prompt_tokens=8, new_tokens=24))
    assert run.output_tokens == 4 * 24
    assert run.preemptions > 0


@pytest.mark.parametrize("field", ["streams", "prompt_tokens", "new_tokens"])
def test_numbers_below_one_are_refused(engine: Engine, field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{field} = 0"):
        measure(engine, Workload(**{field: 0}))


def test_what_does_not_fit_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match=r"129 tokens together.* 128"):
        measure(engine, Workload(1, 65, 64))


def test_a_model_that_fails_is_no_measurement(make_runner) -> None:
    runner = make_runner()

    def fail(batch: Batch, logits: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("broken")

    runner.fault = fail
    options = EngineOptions(cache_bytes=64 * runner.bytes_per_block)
    with Engine(runner, options=options) as engine, pytest.raises(LLMasOSError, match="broken"):
        measure(engine, Workload(2, 8, 4))


def test_warm_up_tells_when_the_first_token_came(engine: Engine) -> None:
    before = time.time()
    first = warm_up(engine)
    assert before + PASS_SECONDS <= first <= time.time()
    assert engine.stats().running == 0


def test_percentiles() -> None:
    assert Percentiles.of([]) is None
    assert Percentiles.of([7.0]) == Percentiles(7.0, 7.0, 7.0)
    assert Percentiles.of([float(value) for value in range(200, 0, -1)]) == Percentiles(100.0, 190.0, 198.0)


def test_ceiling_by_hand() -> None:
    # 2 streams of 10 + 4/2 tokens: 1000 bytes of weights and 2 * 12 * 5 of cache a pass, 2 tokens each.
    assert ceiling(Workload(2, 10, 4), weight_bytes=1000, bytes_per_token=5, bandwidth=11_200) == pytest.approx(20.0)


def test_peak_memory_grows_with_what_is_used() -> None:
    before = peak_memory()
    assert before > 10_000_000
    block = bytearray(before)  # doubles what the process has
    block[::4096] = b"x" * len(block[::4096])
    assert peak_memory() >= before + len(block) // 4
