"""The engine of encoders: many callers, one batch; the same answers as one by one."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import llmasos
import tiny_models
from llmasos.engine.encoder.engine import EncoderEngine, EncoderOptions
from llmasos.engine.intake import Edges
from llmasos.engine.request import Grammar, Request, SamplingParameters
from llmasos.engine.service import Service
from llmasos.engine.task import Classify, Embed, Generate
from llmasos.errors import ContextLengthExceeded, InvalidRequest, Unavailable, Unsupported
from llmasos.modeling.backend import EncoderInput
from llmasos.modeling.model import Model

TEXTS = ["The quick brown fox", "你好，世界。", "a", "pack my box with five dozen liquor jugs"]


class SumNetwork:
    """A network whose answer is the sum of the tokens, and that can be made to wait or to fail."""

    task: Literal["embed"] = "embed"
    width = 2
    vocabulary_size = 1000
    limit = 20
    batchable = True
    device = "cpu"
    dtype = "float32"

    def __init__(self) -> None:
        self.batches: list[list[list[int]]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.closed = False

    def kind(self, ids: Sequence[int]) -> int:
        return 0

    def forward(self, inputs: Sequence[EncoderInput]) -> list[NDArray[np.float32]]:
        self.entered.set()
        assert self.gate.wait(20)
        self.batches.append([list(item.ids) for item in inputs])
        if any(999 in item.ids for item in inputs):
            raise RuntimeError("kernel fault")
        return [np.array([sum(item.ids), len(item.ids)], dtype=np.float32) for item in inputs]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def network() -> SumNetwork:
    return SumNetwork()


@pytest.fixture
def engine(network: SumNetwork) -> Iterator[EncoderEngine]:
    with EncoderEngine(network, edges=Edges((1,), (2,))) as made:
        yield made
    assert network.closed


def embed(ids: Sequence[int], task: Embed | None = None, **values: Any) -> Request:
    return Request(list(ids), task=task or Embed(), **values)


def held(engine: EncoderEngine, network: SumNetwork) -> Any:
    """A request that keeps the engine busy until the gate opens."""
    network.gate.clear()
    network.entered.clear()
    stream = engine.submit(embed([5]))
    assert network.entered.wait(10)
    return stream


def test_what_waits_when_a_pass_ends_is_the_next_batch(engine: EncoderEngine, network: SumNetwork) -> None:
    first = held(engine, network)
    streams = [engine.submit(embed([number, number])) for number in range(10, 20)]
    assert engine.stats().waiting <= 10 and engine.stats().running == 1
    network.gate.set()
    assert first.result().values is not None
    for number, stream in zip(range(10, 20), streams, strict=True):
        result = stream.result()
        assert result.values is not None and result.values.tolist() == [2 * number, 2]
        assert result.finish_reason == "stop"
        assert (result.usage.prompt_tokens, result.usage.completion_tokens) == (2, 0)
    assert [len(batch) for batch in network.batches] == [1, 10]
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.requests, stats.texts, stats.passes) == (0, 0, 11, 11, 2)
    assert (stats.prompt_tokens, stats.rows, stats.output_tokens) == (21, 21, 0)


def test_priority_cancellation_and_deadline(network: SumNetwork) -> None:
    engine = EncoderEngine(network, options=EncoderOptions(max_batch_rows=1))
    first = held(engine, network)
    low = engine.submit(embed([1]))
    gone = engine.submit(embed([2]))
    late = engine.submit(embed([3], deadline=time.monotonic() - 1))
    high = engine.submit(embed([4], priority=1))
    gone.cancel()
    del first  # dropped unread: too late to cancel what is computed
    network.gate.set()
    assert gone.result().finish_reason == "cancelled" and gone.result().values is None
    assert late.result().finish_reason == "deadline" and late.result().values is None
    assert high.result().values is not None and low.result().values is not None
    assert network.batches == [[[5]], [[4]], [[1]]]
    engine.close()


def test_a_fault_ends_the_requests_of_its_pass_only(engine: EncoderEngine, network: SumNetwork) -> None:
    first = held(engine, network)
    broken = [engine.submit(embed([7])), engine.submit(embed([999]))]
    network.gate.set()
    first.result()
    for stream in broken:
        result = stream.result()
        assert result.finish_reason == "error" and "kernel fault" in str(result.outputs[0].error)
    assert engine.submit(embed([3])).result().values is not None


def test_bad_requests(engine: EncoderEngine) -> None:
    with pytest.raises(InvalidRequest, match="the prompt is empty"):
        engine.submit(embed([]))
    with pytest.raises(InvalidRequest, match=r"prompt_ids\[0\] = 1000"):
        engine.submit(embed([1000]))
    with pytest.raises(InvalidRequest, match="dimensions = 0"):
        engine.submit(embed([1], Embed(dimensions=0)))
    with pytest.raises(InvalidRequest, match="dimensions = 3"):
        engine.submit(embed([1], Embed(dimensions=3)))
    with pytest.raises(InvalidRequest, match="type_ids"):
        engine.submit(embed([1, 2], Embed(type_ids=[0])))
    with pytest.raises(InvalidRequest, match="batch_rows"):
        engine.submit(embed([1, 2], Embed(batch_rows=0)))
    with pytest.raises(ContextLengthExceeded, match="21 tokens"):
        engine.submit(embed([1] * 21))
    with pytest.raises(InvalidRequest, match="grammar, sampling has no meaning"):
        engine.submit(embed([1], grammar=Grammar("json"), sampling=SamplingParameters(temperature=0)))
    for task in (Generate(), Classify()):
        with pytest.raises(Unsupported, match=f"asks to {task.name} and this model can embed"):
            engine.submit(Request([1], task=task))
    assert engine.stats().requests == 0


def test_truncation_keeps_the_special_tokens(engine: EncoderEngine, network: SumNetwork) -> None:
    long = [1, *range(100, 130), 2]
    for end, kept in (("right", [1, *range(100, 118), 2]), ("left", [1, *range(112, 130), 2])):
        result = engine.submit(embed(long, truncate=end)).result()
        assert network.batches[-1] == [kept]
        assert (result.usage.prompt_tokens, result.usage.truncated_tokens) == (20, 12)
    engine.submit(embed(range(100, 130), truncate="right")).result()
    assert network.batches[-1] == [list(range(100, 120))], "no special tokens, none kept"


def test_batch_rows_of_a_request_hold(engine: EncoderEngine, network: SumNetwork) -> None:
    first = held(engine, network)
    streams = [engine.submit(embed([number], Embed(batch_rows=3))) for number in range(1, 8)]
    network.gate.set()
    for stream in (first, *streams):
        stream.result()
    assert max(map(len, network.batches)) == 3


def test_closing_ends_everybody(network: SumNetwork) -> None:
    engine = EncoderEngine(network)
    first = held(engine, network)
    waiting = engine.submit(embed([1]))
    closer = threading.Thread(target=engine.close)
    closer.start()
    time.sleep(0.05)
    network.gate.set()
    closer.join(10)
    assert first.result().finish_reason == "stop"
    assert waiting.result().finish_reason == "cancelled"
    with pytest.raises(Unavailable):
        engine.submit(embed([1]))
    engine.close()


def test_random_arrivals_and_cancellations_leak_nothing(engine: EncoderEngine, network: SumNetwork) -> None:
    chance = random.Random(3)
    threads = threading.active_count()

    def caller(seed: int) -> int:
        own = random.Random(seed)
        served = 0
        for _ in range(50):
            ids = [own.randrange(500) for _ in range(own.randrange(1, 20))]
            deadline = time.monotonic() + own.choice((0.0, 5.0)) if own.random() < 0.2 else None
            stream = engine.submit(embed(ids, priority=own.randrange(3), deadline=deadline))
            if own.random() < 0.3:
                stream.cancel()
            if own.random() < 0.2:
                continue  # dropped
            result = stream.result()
            assert result.finish_reason in ("stop", "cancelled", "deadline")
            if result.values is not None:
                assert result.values.tolist() == [sum(ids), len(ids)]
                served += 1
        return served

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(caller, [chance.randrange(10**6) for _ in range(4)])) > 50
    for _ in range(500):
        stats = engine.stats()
        if not stats.running and not stats.waiting:
            break
        time.sleep(0.01)
    assert (stats.running, stats.waiting, stats.requests) == (0, 0, 200)
    assert not engine._core.line._ranks and not engine._core._deadlines._timed
    assert threading.active_count() <= threads


def test_event_loops(engine: EncoderEngine, network: SumNetwork) -> None:
    async def run() -> None:
        results = await asyncio.gather(*(engine.aresult(embed([number])) for number in range(1, 40)))
        assert [result.values.tolist()[0] for result in results if result.values is not None] == list(range(1, 40))
        deltas = [delta async for delta in engine.astream(embed([3, 4]))]
        assert len(deltas) == 1 and deltas[0].values is not None and deltas[0].usage is not None
        network.gate.clear()
        network.entered.clear()
        tasks = [asyncio.create_task(engine.aresult(embed([number]))) for number in (1, 2, 3)]
        await asyncio.to_thread(network.entered.wait, 10)
        await asyncio.sleep(0.05)
        tasks[2].cancel()
        await asyncio.gather(*tasks[2:], return_exceptions=True)
        network.gate.set()
        assert [len((await task).outputs) for task in tasks[:2]] == [1, 1]

    asyncio.run(run())
    assert engine.stats().waiting == 0


# --- the verbs of models -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Model]]:
    root: Path = tmp_path_factory.mktemp("models")
    models: dict[str, Model] = {}

    def get(name: str) -> Model:
        if name not in models:
            models[name] = llmasos.load(tiny_models.build(name, root / name), dtype="float32")
        return models[name]

    yield get
    for model in models.values():
        model.close()


def test_concurrent_callers_of_embed_share_passes(opened: Callable[[str], Model]) -> None:
    model = opened("sentence_transformer")
    alone = {text: model.embed(text).vector for text in TEXTS}
    assert isinstance(model.engine, Service)
    before = model.engine.stats()

    def call(index: int) -> None:
        text = TEXTS[index % 4]
        np.testing.assert_allclose(model.embed(text).vector, alone[text], atol=2e-6)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(call, range(200)))
    after = model.engine.stats()
    assert after.requests - before.requests == 200
    assert after.passes - before.passes < 150, "callers that come together are computed together"


def test_requests_of_a_server_give_what_the_verbs_give(opened: Callable[[str], Model]) -> None:
    model = opened("sentence_transformer")
    ids = model.tokenize(TEXTS[0]).ids
    engine = model.engine
    vector = engine.submit(Request(ids, task=Embed())).result().values
    np.testing.assert_allclose(vector, model.embed(TEXTS[0]).vector, atol=2e-6)
    short = engine.submit(Request(ids, task=Embed(dimensions=4, normalize=False))).result().values
    np.testing.assert_allclose(short, model.embed(TEXTS[0], dimensions=4, normalize=False).vector, atol=2e-6)

    assert model.embedder is not None
    encoded_texts, inputs = model.embedder.inputs(TEXTS, prompt_name="query", dimensions=5)
    vectors = asyncio.run(model.backend.aencode(inputs))  # type: ignore[union-attr]
    expected_vectors = model.embed(TEXTS, prompt_name="query", dimensions=5)
    np.testing.assert_allclose(np.array(vectors), np.array(expected_vectors), atol=2e-6)
    assert [len(item.ids) for item in encoded_texts] == [item.tokens for item in expected_vectors]

    classifier = opened("bert_classifier")
    encoded = classifier.tokenizer.encode(TEXTS[0], TEXTS[2])
    scores = classifier.engine.submit(Request(encoded.ids, task=Classify(type_ids=encoded.type_ids))).result().values
    expected = classifier.classify(TEXTS[0], pair=TEXTS[2])
    assert classifier.classifier is not None
    found = classifier.classifier.result(encoded, scores.tolist())
    assert found.label == expected.label
    assert dict(found.scores) == pytest.approx(dict(expected.scores), abs=1e-6)
    with pytest.raises(Unsupported, match="asks to embed and this model can classify"):
        classifier.engine.submit(Request(encoded.ids, task=Embed()))


@pytest.mark.parametrize("name", ["bert_classifier", "roberta_classifier", "distilbert_classifier", "bart_classifier"])
def test_concurrent_callers_of_classify(name: str, opened: Callable[[str], Model]) -> None:
    model = opened(name)
    texts = [*TEXTS, "I loved it. </s> I hated it.", "fox " * 11]
    alone = [dict(model.classify(text).scores) for text in texts]

    def call(index: int) -> None:
        assert dict(model.classify(texts[index % 6]).scores) == pytest.approx(alone[index % 6], abs=1e-5)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(48)))


def test_a_fault_of_the_model_reaches_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = llmasos.load(tiny_models.build("sentence_transformer", tmp_path / "m"), dtype="float32")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("kernel fault")

    monkeypatch.setattr(torch.nn.Module, "__call__", fail)
    with pytest.raises(llmasos.errors.LLMasOSError, match="kernel fault"):
        model.embed("hi")
    monkeypatch.undo()
    assert len(model.embed("hi")) == 16
    model.close()
