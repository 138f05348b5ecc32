"""Ten thousand requests through one engine: nothing lost, nothing kept."""

from __future__ import annotations

import gc
import random
import tracemalloc
from typing import Any

import pytest

from llmasos.engine.engine import Engine
from llmasos.engine.options import EngineOptions
from llmasos.engine.request import Request, SamplingParameters
from llmasos.engine.stream import Stream

REQUESTS = 10_000


def _request(numbers: random.Random) -> Request:
    prompt = [1] * numbers.choice((0, 8, 20)) + [numbers.randrange(30) for _ in range(numbers.randint(1, 12))]
    parameters = SamplingParameters(
        temperature=numbers.choice((0.0, 1.0)), max_tokens=numbers.randint(1, 10), n=numbers.choice((1, 1, 1, 2)),
        stop=numbers.choice(((), ("ab",))), logprobs=numbers.choice((None, None, 1)),
    )  # fmt: skip
    return Request(
        prompt, parameters, adapter=numbers.choice((None, None, "lora")), priority=numbers.choice((0, 0, 1)),
        steering=numbers.choice((None, None, None, [1])),
    )  # fmt: skip


@pytest.mark.integration
def test_ten_thousand_requests_leave_memory_flat(make_runner: Any, byte_tokenizer: Any) -> None:
    numbers = random.Random(5)
    runner = make_runner(block_size=4, vocabulary_size=258)
    runner.batches = Discarding()
    reasons: dict[str | None, int] = {}
    with Engine(
        runner, byte_tokenizer, eos_token_ids=(256,), options=EngineOptions(cache_bytes=80 * 1024, max_sequences=24)
    ) as engine:

        def serve(count: int) -> None:
            streams: list[Stream] = []
            for _ in range(count):
                streams.append(engine.submit(_request(numbers)))
                if numbers.random() < 0.1:
                    numbers.choice(streams).cancel()
                if numbers.random() < 0.02:
                    del streams[numbers.randrange(len(streams))]  # nobody waits for it any more
                if len(streams) > 60:
                    result = streams.pop(0).result()
                    for output in result.outputs:
                        reasons[output.finish_reason] = reasons.get(output.finish_reason, 0) + 1
            for stream in streams:
                stream.result()

        serve(1500)
        gc.collect()
        tracemalloc.start()
        serve(500)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        serve(REQUESTS - 2000)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        stats = engine.stats()
        assert grown < 300_000, f"{grown} bytes more after {REQUESTS - 2000} requests"
        assert stats.requests == REQUESTS and not stats.running and not stats.waiting
        assert stats.free_blocks + stats.cached_blocks == stats.blocks
        assert stats.preemptions > 0 and stats.evictions > 1000 and stats.cached_tokens > 10_000
        engine.clear_cache()
        assert engine.stats().free_blocks == stats.blocks
    assert set(reasons) == {"length", "stop", "cancelled"}


class Discarding(list[Any]):
    def append(self, item: Any) -> None:
        pass
