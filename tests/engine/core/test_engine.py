"""The engine from outside: threads, event loops, streams, closing, faults."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from llmasos.engine.batch import Batch
from llmasos.engine.engine import Engine
from llmasos.engine.options import EngineOptions
from llmasos.engine.request import Grammar, Request, SamplingParameters
from llmasos.errors import InUse, InvalidRequest, OutOfMemory, Unavailable, Unsupported

BLOCKS = 200


def _options(**values: Any) -> EngineOptions:
    return EngineOptions(**{"cache_bytes": BLOCKS * 1024} | values)


def _greedy(**values: Any) -> SamplingParameters:
    return SamplingParameters(temperature=0.0, **values)


@pytest.fixture
def runner(make_runner: Any) -> Any:
    return make_runner(vocabulary_size=258)


@pytest.fixture
def engine(runner: Any, byte_tokenizer: Any) -> Iterator[Engine]:
    with Engine(runner, byte_tokenizer, eos_token_ids=(256,), options=_options()) as made:
        yield made


@pytest.fixture
def reference(make_core: Any, make_runner: Any) -> Any:
    harness = make_core(make_runner(vocabulary_size=258), blocks=BLOCKS)
    harness.eos_ids = (256,)
    return harness.reference


class Slow:
    """Holds the model back, so that a test can act while a request is live."""

    def __init__(self, runner: Any, seconds: float = 0.002) -> None:
        self.seconds = seconds
        runner.fault = self

    def __call__(self, batch: Batch, logits: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds)
        return logits


def _settled(engine: Engine) -> bool:
    for _ in range(1000):
        stats = engine.stats()
        if not stats.running and not stats.waiting:
            return stats.free_blocks + stats.cached_blocks == stats.blocks
        time.sleep(0.01)
    return False


def test_streams_deltas_and_gives_the_whole(engine: Engine, reference: Any) -> None:
    request = Request([1, 2, 3], _greedy(max_tokens=6))
    stream = engine.submit(request)
    first = next(stream)
    assert first.request_id == stream.request_id and len(first.token_ids) == 1 and first.usage is None
    result = stream.result()
    assert result.token_ids == reference(request) and result.finish_reason == "length"
    assert list(stream) == [], "it has ended"
    assert stream.result().text == result.text


def test_results_come_in_the_order_of_the_requests(engine: Engine, reference: Any) -> None:
    requests = [Request([number, 3], SamplingParameters(seed=number, max_tokens=5 + number)) for number in range(12)]
    assert [result.token_ids for result in engine.generate(requests)] == [reference(request) for request in requests]


def test_many_threads_at_once(engine: Engine, reference: Any) -> None:
    wrong: list[int] = []

    def client(number: int) -> None:
        for turn in range(5):
            request = Request([number, turn, 3], SamplingParameters(seed=turn, max_tokens=4, n=1 + turn % 2))
            stream = engine.submit(request)
            if turn == 3:
                stream.cancel()
                stream.result()
            elif stream.result().token_ids != reference(request):
                wrong.append(number)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and _settled(engine)
    assert engine.stats().requests == 80


def test_cancelling_ends_the_stream_and_keeps_what_came(engine: Engine, runner: Any) -> None:
    Slow(runner)
    stream = engine.submit(Request([1], _greedy(ignore_eos=True)))
    first = next(stream)
    stream.cancel()
    result = stream.result()
    assert result.finish_reason == "cancelled" and result.token_ids[:1] == first.token_ids
    assert result.usage.completion_tokens == len(result.token_ids) < 50
    stream.cancel()
    assert _settled(engine)


def test_a_dropped_stream_cancels_its_request(engine: Engine, runner: Any) -> None:
    Slow(runner)
    stream = engine.submit(Request([1], _greedy(ignore_eos=True)))
    next(stream)
    del stream
    gc.collect()
    assert _settled(engine) and engine.stats().output_tokens < 60


def test_several_requests_in_one_iteration(engine: Engine, runner: Any, reference: Any) -> None:
    requests = [Request([number, 3], SamplingParameters(seed=number, max_tokens=5 + number)) for number in range(6)]
    tokens: list[list[int]] = [[] for _ in requests]
    for index, delta in engine.stream_together(requests):
        tokens[index] += delta.token_ids
    assert tokens == [reference(request) for request in requests]
    Slow(runner)
    news = engine.stream_together([Request([1], _greedy(ignore_eos=True))] * 3)
    next(news)
    news.close()  # type: ignore[attr-defined]
    assert _settled(engine)
    with pytest.raises(InvalidRequest):
        engine.stream_together([Request([1]), Request([])])
    assert engine.stats().requests == 9


def test_asyncio_streams(engine: Engine, reference: Any) -> None:
    requests = [Request([number, 3], SamplingParameters(seed=number, max_tokens=6)) for number in range(10)]

    async def read(request: Request) -> list[int]:
        return [token async for delta in engine.astream(request) for token in delta.token_ids]

    async def main() -> list[list[int]]:
        return await asyncio.gather(*[read(request) for request in requests])

    for _ in range(2):  # with another loop the second time
        assert asyncio.run(main()) == [reference(request) for request in requests]


def test_asyncio_cancellation_cancels_the_request(engine: Engine, runner: Any) -> None:
    Slow(runner)

    async def read() -> None:
        async for _ in engine.astream(Request([1], _greedy(ignore_eos=True))):
            pass

    async def main() -> None:
        task = asyncio.create_task(read())
        await asyncio.sleep(0.03)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert _settled(engine) and engine.stats().output_tokens < 100


def test_a_loop_that_is_gone_cancels_its_requests(engine: Engine, runner: Any) -> None:
    Slow(runner)

    async def main() -> None:
        stream = engine.astream(Request([1], _greedy(ignore_eos=True)))
        await anext(stream)  # never closed: the loop ends under it
        kept.append(stream)

    kept: list[Any] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    assert _settled(engine) and engine.stats().output_tokens < 100


def test_asyncio_errors_are_those_of_submit(engine: Engine) -> None:
    async def main() -> None:
        async for _ in engine.astream(Request([])):
            pass

    with pytest.raises(InvalidRequest, match="empty"):
        asyncio.run(main())


def test_close_ends_live_requests_and_the_runner(runner: Any, byte_tokenizer: Any) -> None:
    Slow(runner)
    engine = Engine(runner, byte_tokenizer, options=_options(max_sequences=2))
    streams = [engine.submit(Request([number], _greedy())) for number in range(5)]
    next(streams[0])
    engine.close()
    assert [stream.result().finish_reason for stream in streams] == ["cancelled"] * 5
    assert runner.closed and not engine._thread.is_alive()
    engine.close()
    with pytest.raises(Unavailable, match="closed"):
        engine.submit(Request([1]))
    with pytest.raises(Unavailable):
        engine.clear_cache()


def test_a_failing_pass_is_reported_and_the_engine_goes_on(engine: Engine, runner: Any, reference: Any) -> None:
    def fail(batch: Batch, logits: torch.Tensor) -> torch.Tensor:
        runner.fault = None
        raise MemoryError("too large")

    runner.fault = fail
    request = Request([1, 2], _greedy(max_tokens=4))
    broken, whole = engine.submit(request).result(), engine.submit(request).result()
    assert broken.finish_reason == "error" and "too large" in (broken.outputs[0].error or "")
    assert whole.token_ids == reference(request)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_the_engine_leaves_nobody_waiting(engine: Engine, runner: Any) -> None:
    class Strange(Exception):
        pass

    def fail(batch: Batch, logits: torch.Tensor) -> torch.Tensor:
        raise Strange

    runner.fault = fail
    result = engine.submit(Request([1, 2], _greedy(max_tokens=4))).result()
    assert result.finish_reason == "error" and "fault" in (result.outputs[0].error or "")
    engine._thread.join(5)
    with pytest.raises(Unavailable):
        engine.submit(Request([1]))
    assert runner.closed


def test_an_adapters_prefixes_can_be_forgotten(engine: Engine, runner: Any) -> None:
    request = Request(list(range(20)), _greedy(max_tokens=2), adapter="a")
    steered = Request(list(range(20)), _greedy(max_tokens=2), adapter="a", steering=("x",))
    engine.generate([request, steered])
    assert [result.usage.cached_tokens for result in engine.generate([request, steered])] == [19, 19]
    Slow(runner)
    live = engine.submit(Request([1], _greedy(ignore_eos=True), adapter="a"))
    next(live)
    with pytest.raises(InUse):
        engine.forget("a")
    live.cancel()
    live.result()
    engine.forget("a")
    assert [result.usage.cached_tokens for result in engine.generate([request, steered])] == [0, 0]
    engine.clear_cache()
    assert engine.stats().cached_blocks == 0


def test_text_options_need_a_tokenizer(runner: Any) -> None:
    with Engine(runner, options=_options()) as engine:
        for values in (
            {"sampling": _greedy(stop=("x",))},
            {"sampling": _greedy(echo=True)},
            {"grammar": Grammar("json")},
        ):
            with pytest.raises(InvalidRequest, match="tokenizer"):
                engine.submit(Request([1], **values))
        result = engine.generate([Request([1], _greedy(max_tokens=3))])[0]
        assert len(result.token_ids) == 3 and result.text == ""


def test_options_are_checked_and_a_cache_of_no_block_is_refused(runner: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Engine(runner, options=EngineOptions(max_batch_tokens=0, aging_seconds=0))
    assert "max_batch_tokens" in caught.value.message and "aging_seconds" in caught.value.message
    with pytest.raises(OutOfMemory) as full:
        Engine(runner, options=_options(cache_bytes=100))
    assert full.value.needed == 1024


def test_the_cache_has_a_size_of_its_own(runner: Any) -> None:
    with Engine(runner, options=EngineOptions(max_sequences=3)) as engine:
        assert engine.stats().blocks == 3 * runner.context_length // runner.block_size, "never more than can be used"


def test_a_prompt_beyond_the_cache_is_refused_and_output_ends_with_it(runner: Any) -> None:
    with Engine(runner, options=_options(cache_bytes=5 * 1024)) as engine:
        with pytest.raises(OutOfMemory):
            engine.submit(Request([1] * 20))
        result = engine.generate([Request([1] * 9, _greedy(ignore_eos=True))])[0]
        assert len(result.token_ids) == 11 and result.finish_reason == "length"


def test_grammar_constrains_and_forces(engine: Engine) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"enum": ["Ada", "Grace"]}, "age": {"type": "integer", "minimum": 10, "maximum": 99}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    request = Request([1, 2], SamplingParameters(seed=3, n=3, max_tokens=60), grammar=Grammar("json_schema", schema))
    result = engine.submit(request).result()
    import json

    for output in result.outputs:
        value = json.loads(output.text)
        assert value["name"] in ("Ada", "Grace") and 10 <= value["age"] <= 99 and output.finish_reason == "stop"
    assert result.usage.forced_tokens > 30, "the keys leave no choice"
    plain = Request([1, 2], SamplingParameters(seed=3, n=3, max_tokens=60, logprobs=0), grammar=request.grammar)
    scored = engine.submit(plain).result()
    assert [output.text for output in scored.outputs] == [output.text for output in result.outputs]
    assert scored.usage.forced_tokens == 0, "every token's log-probability was asked for"


def test_a_forced_text_longer_than_a_block_is_computed_as_a_prompt_is(engine: Engine) -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 2
    choice = Grammar("choice", (text + "Yes", text + "No"))
    result = engine.submit(Request([1, 2], SamplingParameters(seed=3, max_tokens=110), grammar=choice)).result()
    assert result.text in (text + "Yes", text + "No") and result.usage.forced_tokens > 80
    cut = engine.submit(Request([1, 2], SamplingParameters(seed=3, max_tokens=20), grammar=choice)).result()
    assert cut.text == text[:20] and cut.finish_reason == "length"
    stopped = engine.submit(Request([1, 2], SamplingParameters(seed=3, stop=("brown",)), grammar=choice)).result()
    assert stopped.text == "The quick " and stopped.outputs[0].stop == "brown"
    assert _settled(engine)


def test_impossible_grammars_are_refused_at_once(engine: Engine) -> None:
    with pytest.raises(InvalidRequest):
        engine.submit(Request([1], grammar=Grammar("regex", "[")))
    with pytest.raises(InvalidRequest):
        engine.submit(Request([1], grammar=Grammar("json_schema", '{"type": "nothing"}')))


def test_what_only_the_runner_can_judge_is_refused_at_submission(runner: Any) -> None:
    def check(intervention: object) -> None:
        if intervention == "nonsense":
            raise InvalidRequest("steering is nonsense")

    runner.check_intervention = check
    with Engine(runner, options=_options()) as engine:
        engine.generate([Request([1], _greedy(max_tokens=1), steering="sense")])
        with pytest.raises(InvalidRequest, match="nonsense"):
            engine.submit(Request([1], steering="nonsense"))


def test_unknown_capabilities_are_refused(runner: Any) -> None:
    runner.capabilities = frozenset({"logits"})
    with Engine(runner, options=_options()) as engine, pytest.raises(Unsupported):
        engine.submit(Request([1], steering=("x",)))


def test_requests_that_start_together_share_a_pass(engine: Engine, runner: Any) -> None:
    before = len(runner.batches)
    with engine.together():
        streams = []
        for number in range(3):
            streams.append(engine.submit(Request([number + 1], _greedy(max_tokens=2))))
            time.sleep(0.05)  # without the block the first would have been served by now
        assert len(runner.batches) == before
    assert all(len(stream.result().outputs[0].token_ids) == 2 for stream in streams)
    assert len(runner.batches[before]) == 3


def test_a_request_that_is_refused_holds_nobody_up(engine: Engine) -> None:
    with pytest.raises(InvalidRequest), engine.together():
        engine.submit(Request([1], _greedy(max_tokens=-1)))
    assert engine.submit(Request([1], _greedy(max_tokens=1))).result().outputs
