"""Encoder-decoder models: whatever joins or leaves, each output is what transformers' generate gives alone."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import llmasos
import tiny_models
from llmasos.engine.encoder_decoder.engine import EncoderDecoderEngine, EncoderDecoderOptions
from llmasos.engine.request import Delta, Grammar, Request, SamplingParameters
from llmasos.engine.task import BeamSearch, Embed, Generate
from llmasos.errors import ContextLengthExceeded, InvalidRequest, OutOfMemory, Unavailable, Unsupported
from llmasos.modeling.model import Model

pytestmark = pytest.mark.integration  # by its time: seconds, not milliseconds

NAMES = ["t5", "bart", "marian"]
TEXTS = [
    "This is a great",
    "你好，世界",
    "The quick brown fox jumps over the lazy dog",
    "once upon a time",
    "a",
    "fox fox",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("models")

    def get(name: str) -> Path:
        path = root / name
        return path if path.is_dir() else tiny_models.build(name, path)

    return get


@pytest.fixture(scope="module")
def opened(folder: Callable[[str], Path]) -> Iterator[Callable[[str], Model]]:
    models: dict[str, Model] = {}

    def get(name: str) -> Model:
        if name not in models:
            models[name] = llmasos.load(folder(name), dtype="float32")
        return models[name]

    yield get
    for model in models.values():
        model.close()


@pytest.fixture(scope="module")
def reference(folder: Callable[[str], Path]) -> Callable[..., list[int]]:
    """Greedy output of transformers for one prompt alone, without the start token."""
    models: dict[str, Any] = {}

    def generate(name: str, ids: list[int], length: int, **options: Any) -> list[int]:
        if name not in models:
            models[name] = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder(name), dtype=torch.float32).eval()
        tokens = torch.tensor([ids])
        options = {"do_sample": False, "num_beams": 1, "no_repeat_ngram_size": 0, "min_length": 0, **options}
        output = models[name].generate(
            tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=length, max_length=None, **options
        )
        return output[0, 1:].tolist()  # type: ignore[no-any-return]

    return generate


def greedy(length: int, **values: Any) -> SamplingParameters:
    return SamplingParameters(temperature=0, max_tokens=length, **values)


def ids_of(model: Model) -> list[list[int]]:
    return [model.tokenize(text).ids for text in TEXTS]


def settled(engine: EncoderDecoderEngine) -> None:
    for _ in range(1000):
        stats = engine.stats()
        if not stats.running and not stats.waiting and engine._runner.rows == 0:
            break
        time.sleep(0.01)
    assert (stats.running, stats.waiting, engine._runner.rows) == (0, 0, 0)
    assert not engine._core.line._ranks and not engine._core._deadlines._timed and not engine._core.live


@pytest.mark.parametrize("name", NAMES)
def test_every_family_here_lets_requests_join(name: str, opened: Callable[[str], Model]) -> None:
    assert opened(name).engine._runner.joins


@pytest.mark.parametrize("name", NAMES)
def test_greedy_output_whatever_joins_and_leaves(
    name: str, opened: Callable[[str], Model], reference: Callable[..., list[int]]
) -> None:
    model = opened(name)
    engine, prompts = model.engine, ids_of(model)
    chance = random.Random(7)
    jobs = [(chance.choice(prompts), chance.randrange(1, 40)) for _ in range(40)]
    expected = {(tuple(ids), length): reference(name, ids, length) for ids, length in jobs}

    def call(job: tuple[list[int], int]) -> None:
        time.sleep(chance.random() * 0.02)
        result = engine.submit(Request(job[0], greedy(job[1]))).result()
        assert result.token_ids == expected[tuple(job[0]), job[1]]
        assert result.usage.prompt_tokens == len(job[0])
        assert result.usage.completion_tokens == len(result.token_ids)

    before = engine.stats()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, jobs))
    after = engine.stats()
    assert after.passes - before.passes < (after.output_tokens - before.output_tokens) / 1.5, "steps are shared"
    assert len({tuple(tokens) for tokens in expected.values()}) > 4, "the tiny model must tell prompts apart"
    settled(engine)


@pytest.mark.parametrize("name", NAMES)
def test_random_arrivals_and_cancellations_leak_nothing(
    name: str, opened: Callable[[str], Model], reference: Callable[..., list[int]]
) -> None:
    model = opened(name)
    engine, prompts = model.engine, ids_of(model)
    whole = {tuple(ids): reference(name, ids, 30) for ids in prompts}
    threads = threading.active_count()

    def caller(seed: int) -> None:
        own = random.Random(seed)
        for _ in range(50):
            ids = own.choice(prompts)
            beams = BeamSearch(2) if own.random() < 0.04 else None
            deadline = time.monotonic() + own.random() * 0.05 if own.random() < 0.15 else None
            stream = engine.submit(
                Request(ids, greedy(30), Generate(beams=beams), priority=own.randrange(3), deadline=deadline)
            )
            for _ in range(own.randrange(4)):
                next(stream, None)
            if own.random() < 0.4:
                stream.cancel()
            if own.random() < 0.2:
                continue  # dropped
            result = stream.result()
            assert result.finish_reason in ("stop", "length", "cancelled", "deadline")
            if beams is None and result.finish_reason not in ("stop", "length"):
                got = result.token_ids
                assert got == whole[tuple(ids)][: len(got)]
            elif beams is None and not _forced_end(whole[tuple(ids)], result.token_ids):
                assert result.token_ids == whole[tuple(ids)]

    before = engine.stats().requests
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(caller, range(4)))
    assert engine.stats().requests - before == 200
    settled(engine)
    assert threading.active_count() <= threads + 1, "the thread of the beam search may have started"


def _forced_end(whole: list[int], found: list[int]) -> bool:
    return len(found) == 30 and found[:-1] == whole[:29]


@pytest.mark.parametrize("name", NAMES)
def test_sampling_does_not_depend_on_neighbours(name: str, opened: Callable[[str], Model]) -> None:
    model = opened(name)
    engine, prompts = model.engine, ids_of(model)
    requests = [
        Request(prompts[0], SamplingParameters(temperature=1.1, seed=3, max_tokens=20, top_p=0.9)),
        Request(prompts[1], SamplingParameters(temperature=0.8, seed=4, max_tokens=12, top_k=20, n=3)),
        Request(prompts[2], SamplingParameters(temperature=1.0, seed=5, max_tokens=25, presence_penalty=1.0)),
        Request(prompts[3], SamplingParameters(temperature=0, max_tokens=15, repetition_penalty=1.4, logprobs=2)),
        Request(prompts[4], SamplingParameters(temperature=1.0, seed=6, max_tokens=9, n=1, best_of=3)),
        Request(prompts[5], greedy(12), Generate(no_repeat_ngram_size=2)),
    ]

    def tokens(results: list[Any]) -> list[list[list[int]]]:
        return [[output.token_ids for output in result.outputs] for result in results]

    together = engine.generate(requests)
    alone = [engine.submit(request).result() for request in requests]
    assert tokens(together) == tokens(alone)
    assert [[output.text for output in result.outputs] for result in together] == [
        [output.text for output in result.outputs] for result in alone
    ]
    assert len(together[1].outputs) == 3 and len({tuple(output.token_ids) for output in together[1].outputs}) > 1
    assert len(together[4].outputs) == 1
    settled(engine)


@pytest.mark.parametrize(("name", "options"), [
    ("t5", {"no_repeat_ngram_size": 2}), ("t5", {"repetition_penalty": 1.5}), ("bart", {"no_repeat_ngram_size": 3}),
    ("bart", {"repetition_penalty": 1.3, "min_new_tokens": 12}), ("marian", {"min_new_tokens": 8}),
])  # fmt: skip
def test_rules_are_those_of_transformers(
    name: str, options: dict[str, Any], opened: Callable[[str], Model], reference: Callable[..., list[int]]
) -> None:
    model = opened(name)
    given = {"no_repeat_ngram_size": 0, **options}
    task = Generate(given.pop("no_repeat_ngram_size"))
    sampling = greedy(
        20, repetition_penalty=given.get("repetition_penalty", 1.0), min_tokens=given.get("min_new_tokens", 0)
    )
    for ids in ids_of(model):
        expected = reference(name, ids, 20, **options)
        assert model.engine.submit(Request(ids, sampling, task)).result().token_ids == expected


def test_log_probabilities(opened: Callable[[str], Model], folder: Callable[[str], Path]) -> None:
    model = opened("t5")
    ids = ids_of(model)[0]
    result = model.engine.submit(Request(ids, greedy(8, logprobs=2))).result()
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder("t5"), dtype=torch.float32).eval()
    with torch.no_grad():
        logits = theirs(
            input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([[0, *result.token_ids[:-1]]])
        ).logits[0]
    expected = logits.log_softmax(-1)
    found = result.outputs[0].logprobs
    assert found is not None and [entry.token_id for entry in found] == result.token_ids
    for place, entry in enumerate(found):
        assert entry.logprob == pytest.approx(float(expected[place, entry.token_id]), abs=1e-3)
        assert entry.top[0][0] == entry.token_id and len(entry.top) == 2


def test_stop_texts_ids_and_prescribed_ends(opened: Callable[[str], Model]) -> None:
    model = opened("t5")
    engine, ids = model.engine, ids_of(model)[2]
    whole = engine.submit(Request(ids, greedy(20, ignore_eos=True))).result()
    stop = whole.text[4:7]
    cut = engine.submit(Request(ids, greedy(20, ignore_eos=True, stop=(stop,)))).result()
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert (cut.finish_reason, cut.outputs[0].stop) == ("stop", stop)
    by_id = engine.submit(Request(ids, greedy(20, stop_token_ids=(whole.token_ids[3],)))).result()
    assert by_id.finish_reason == "stop" and by_id.outputs[0].stop == whole.token_ids[3]
    marian = opened("marian")
    forced = marian.engine.submit(Request(ids_of(marian)[0], greedy(5, logprobs=0))).result()
    assert (forced.token_ids[-1], forced.finish_reason) == (0, "length")
    assert forced.outputs[0].logprobs is not None and len(forced.outputs[0].logprobs) == 5
    assert forced.outputs[0].logprobs[-1].logprob < 0
    free = marian.engine.submit(Request(ids_of(marian)[0], greedy(5, ignore_eos=True))).result()
    assert free.token_ids[:-1] == forced.token_ids[:-1]


def test_beam_searches_of_several_callers_run_together(opened: Callable[[str], Model]) -> None:
    model = opened("marian")
    alone = [model.generate(text).token_ids for text in TEXTS]
    before = model.engine.stats().beam_searches
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda index: model.generate(TEXTS[index % 6]).token_ids, range(36)))
    assert found == [alone[index % 6] for index in range(36)]
    assert model.engine.stats().beam_searches - before < 36
    settled(model.engine)


def test_bad_requests(opened: Callable[[str], Model]) -> None:
    model = opened("bart")
    engine, ids = model.engine, ids_of(model)[0]
    with pytest.raises(InvalidRequest, match="the prompt is empty"):
        engine.submit(Request([]))
    with pytest.raises(ContextLengthExceeded, match="reads at most 64"):
        engine.submit(Request([5] * 65))
    with pytest.raises(ContextLengthExceeded, match="max_tokens = 64"):
        engine.submit(Request(ids, greedy(64)))
    cut = engine.submit(Request([0, *[5] * 100, 2], greedy(2), truncate="right")).result()
    assert (cut.usage.prompt_tokens, cut.usage.truncated_tokens) == (64, 38)
    with pytest.raises(Unsupported, match="grammar"):
        engine.submit(Request(ids, grammar=Grammar("json")))
    with pytest.raises(Unsupported, match="echo, prompt_logprobs"):
        engine.submit(Request(ids, SamplingParameters(echo=True, prompt_logprobs=0)))
    with pytest.raises(Unsupported, match="asks to embed and this model can generate"):
        engine.submit(Request(ids, task=Embed()))
    with pytest.raises(InvalidRequest, match=r"beams\.width = 1"):
        engine.submit(Request(ids, greedy(4), Generate(beams=BeamSearch(1))))
    with pytest.raises(InvalidRequest, match="n, logprobs, temperature does not go with beam search"):
        engine.submit(Request(ids, SamplingParameters(n=2, logprobs=1), Generate(beams=BeamSearch(2))))
    with pytest.raises(InvalidRequest, match="target_language"):
        engine.submit(Request(ids, greedy(4), Generate(target_language="xx")))


def test_a_small_cache_makes_requests_wait_and_an_oversized_one_is_refused(opened: Callable[[str], Model]) -> None:
    model = opened("t5")
    old = model.engine
    runner = old._runner
    size = 40 * (runner.output_bytes + runner.prompt_bytes)
    core = old._core
    saved = core._cache_bytes, old._cache_bytes
    core._cache_bytes = old._cache_bytes = size
    try:
        with pytest.raises(OutOfMemory):
            old.submit(Request([5] * 30, greedy(60)))
        results = old.generate([Request(ids, greedy(15)) for ids in ids_of(model)])
        assert all(len(result.token_ids) <= 15 for result in results)
    finally:
        core._cache_bytes, old._cache_bytes = saved
    settled(old)


def test_faults_of_a_step_end_its_requests_and_no_others(
    opened: Callable[[str], Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened("t5")
    engine, ids = model.engine, ids_of(model)[0]
    whole = engine.submit(Request(ids, greedy(10))).result().token_ids
    step = engine._runner.step

    def fail(tokens: list[int]) -> torch.Tensor:
        monkeypatch.setattr(engine._runner, "step", step)
        raise RuntimeError("kernel fault")

    monkeypatch.setattr(engine._runner, "step", fail)
    broken = engine.submit(Request(ids, greedy(10))).result()
    assert broken.finish_reason == "error" and "kernel fault" in str(broken.outputs[0].error)
    assert engine.submit(Request(ids, greedy(10))).result().token_ids == whole
    settled(engine)


def test_event_loops(opened: Callable[[str], Model]) -> None:
    model = opened("marian")
    engine, prompts = model.engine, ids_of(model)

    async def run() -> None:
        results = await asyncio.gather(*(engine.aresult(Request(ids, greedy(12))) for ids in prompts))
        for ids, result in zip(prompts, results, strict=True):
            assert result.token_ids == engine.submit(Request(ids, greedy(12))).result().token_ids
        deltas: list[Delta] = [delta async for delta in engine.astream(Request(prompts[2], greedy(12)))]
        assert len(deltas) > 2 and deltas[-1].usage is not None
        async for _ in engine.astream(Request(prompts[2], greedy(12))):
            break  # leaving cancels

    asyncio.run(run())
    settled(engine)


def test_closing_ends_everybody(folder: Callable[[str], Path]) -> None:
    model = llmasos.load(folder("t5"), dtype="float32")
    engine = model.engine
    streams = [engine.submit(Request(ids_of(model)[0], greedy(500, ignore_eos=True))) for _ in range(3)]
    next(streams[0])
    model.close()
    assert {stream.result().finish_reason for stream in streams} <= {"cancelled", "length"}
    with pytest.raises(Unavailable):
        engine.submit(Request([5]))


def test_the_rows_of_a_batch_are_bounded(folder: Callable[[str], Path], opened: Callable[[str], Model]) -> None:
    model = opened("t5")
    engine = model.engine
    core = engine._core
    seen: list[int] = []
    keep = core._most_rows
    core._most_rows = 3
    choose = core._choose
    core._choose = lambda rows, logits: (seen.append(len(rows)), choose(rows, logits))[1]
    try:
        engine.generate([Request(ids, greedy(8)) for ids in ids_of(model) * 3])
    finally:
        core._most_rows = keep
        core._choose = choose
    assert 1 < max(seen) <= 3
    settled(engine)


def test_options_are_checked() -> None:
    with pytest.raises(InvalidRequest, match="max_sequences = 0"):
        EncoderDecoderOptions(max_sequences=0).check()
