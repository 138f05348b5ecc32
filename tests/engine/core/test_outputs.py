"""Ends, choices, log-probabilities, echo, text; and what happens when the model fails."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
import torch

from llmasos.engine.batch import Batch
from llmasos.engine.output import ActiveRequest, Output
from llmasos.engine.request import Request, SamplingParameters
from llmasos.engine.sequence import Sequence


def _greedy(**values: Any) -> SamplingParameters:
    return SamplingParameters(temperature=0.0, **values)


@pytest.fixture
def harness(make_core: Any, make_runner: Any, byte_tokenizer: Any) -> Any:
    return make_core(make_runner(vocabulary_size=258), tokenizer=byte_tokenizer)


def test_length_is_max_tokens_or_the_context(harness: Any) -> None:
    limited, whole = harness.serve(Request([1, 2], _greedy(max_tokens=4)), Request([1, 2], _greedy()))
    assert len(limited.token_ids) == 4 and limited.finish_reason == "length"
    assert len(whole.token_ids) == harness.runner.context_length - 2 and whole.finish_reason == "length"


def test_end_tokens_and_stop_ids_end_the_output_and_are_no_text(harness: Any) -> None:
    request = Request([1, 2], _greedy(max_tokens=12))
    free = harness.serve(request)[0]
    harness.eos_ids = (free.token_ids[5],)
    ended = harness.serve(request)[0]
    assert ended.token_ids == free.token_ids[:6] and ended.finish_reason == "stop" and ended.outputs[0].stop is None
    assert free.text.startswith(ended.text)
    ignoring = harness.serve(Request([1, 2], _greedy(max_tokens=12, ignore_eos=True)))[0]
    assert ignoring.token_ids == free.token_ids
    stopped = harness.serve(Request([1, 2], _greedy(max_tokens=12, stop_token_ids=(free.token_ids[3],))))[0]
    assert stopped.token_ids == free.token_ids[:4] and stopped.outputs[0].stop == free.token_ids[3]


def test_min_tokens_postpones_the_end(harness: Any) -> None:
    free = harness.serve(Request([1, 2], _greedy(max_tokens=12)))[0]
    harness.eos_ids = (free.token_ids[1],)
    request = Request([1, 2], _greedy(max_tokens=12, min_tokens=5))
    result = harness.serve(request)[0]
    assert len(result.token_ids) >= 5 and result.token_ids == harness.reference(request)


def test_a_stop_text_ends_the_output_within_a_token(harness: Any, byte_tokenizer: Any) -> None:
    letters = [token for token in range(256) if byte_tokenizer.decode([token]).isalpha()]
    only = SamplingParameters(seed=4, max_tokens=60, logit_bias=dict.fromkeys(letters, 50.0))
    text = harness.serve(Request([1], only))[0].text
    stop = text[7:10]
    place = text.index(stop)
    result = harness.serve(
        Request([1], SamplingParameters(seed=4, max_tokens=60, logit_bias=only.logit_bias, stop=("@@", stop)))
    )[0]
    assert (result.text, result.finish_reason, result.outputs[0].stop) == (text[:place], "stop", stop)
    assert len(result.token_ids) == place + 3, "the tokens of the stop text are counted"


def test_text_is_streamed_without_broken_characters(harness: Any, byte_tokenizer: Any) -> None:
    result = harness.serve(Request([1, 2], SamplingParameters(seed=1, max_tokens=100)))[0]
    assert result.text == byte_tokenizer.decode([1, 2, *result.token_ids])[len(byte_tokenizer.decode([1, 2])) :]
    deltas = next(iter(harness.deltas.values()))
    assert len(deltas) == 100 and [len(delta.token_ids) for delta in deltas] == [1] * 100


def test_echo_and_scores_of_the_prompt(harness: Any, byte_tokenizer: Any) -> None:
    prompt = byte_tokenizer.encode("Grüße").ids
    scored = SamplingParameters(max_tokens=0, echo=True, prompt_logprobs=2)
    for _ in range(2):  # the second time the prompt is in the cache, which must not shorten the answer
        result = harness.serve(Request(prompt, scored))[0]
        assert result.text == "Grüße" and not result.token_ids and result.finish_reason == "length"
        assert result.prompt_logprobs is not None and result.prompt_logprobs[0] is None
        name = harness.runner.name_of(None)
        for index in range(1, len(prompt)):
            entry = result.prompt_logprobs[index]
            logits = harness.runner.logits_of(prompt[:index], name).astype(np.float64)
            expected = logits - np.log(np.exp(logits).sum())
            assert entry is not None and entry.token_id == prompt[index]
            assert entry.logprob == pytest.approx(expected[prompt[index]], abs=1e-5)
            assert entry.top[0][0] == int(expected.argmax()) and len(entry.top) == 2


def test_scores_of_a_long_prompt_in_chunks_under_preemption(make_core: Any, make_runner: Any) -> None:
    harness = make_core(make_runner(block_size=4), blocks=28, max_batch_tokens=8)
    prompt = [number % 11 for number in range(90)]
    other = harness.add(Request([1] * 5, _greedy(max_tokens=80)))
    harness.step(2)
    active = harness.add(Request(prompt, _greedy(max_tokens=3, prompt_logprobs=0)))
    harness.finish()
    result = harness.result(active)
    assert harness.core.scheduler.preemptions
    assert [entry.token_id for entry in result.prompt_logprobs[1:]] == prompt[1:]
    logits = harness.runner.logits_of(prompt[:77], harness.runner.name_of(None)).astype(np.float64)
    expected = logits[prompt[77]] - np.log(np.exp(logits).sum())
    assert result.prompt_logprobs[77].logprob == pytest.approx(expected, abs=1e-5)
    assert result.token_ids == harness.reference(active.request)
    assert harness.result(other).token_ids == harness.reference(other.request)


def test_scores_of_a_prompt_take_few_rows_of_logits_at_once(make_core: Any, make_runner: Any) -> None:
    """512 rows over a vocabulary of 150,000 would be 300 MB."""
    runner = make_runner(block_size=4, context_length=400)
    harness = make_core(runner, blocks=200, max_batch_tokens=512)
    wanted: list[int] = []

    def watch(batch: Batch, logits: torch.Tensor) -> torch.Tensor:
        wanted.append(len(logits))
        return logits

    runner.fault = watch
    harness.serve(Request([number % 9 for number in range(300)], _greedy(max_tokens=1, prompt_logprobs=0)))
    assert sum(wanted) == 300 and max(wanted) <= 64


def test_n_outputs_share_the_prompt_and_differ(make_core: Any, make_runner: Any) -> None:
    runner = make_runner(block_size=4)
    harness = make_core(runner)
    request = Request(list(range(22)), SamplingParameters(seed=5, n=4, max_tokens=10))
    result = harness.serve(request)[0]
    assert runner.rows == 22 + 4 * 9
    assert runner.copies == 3, "the block that is not full, for all outputs but one"
    assert [output.token_ids for output in result.outputs] == [harness.reference(request, index) for index in range(4)]
    assert len({tuple(output.token_ids) for output in result.outputs}) == 4
    assert result.usage.prompt_tokens == 22 and result.usage.completion_tokens == 40


def test_more_outputs_than_places_wait(make_core: Any, make_runner: Any) -> None:
    harness = make_core(make_runner(block_size=4), max_sequences=2)
    request = Request(list(range(9)), SamplingParameters(seed=5, n=7, max_tokens=5))
    result = harness.serve(request)[0]
    assert [output.token_ids for output in result.outputs] == [harness.reference(request, index) for index in range(7)]


def test_best_of_gives_the_likeliest_outputs_whole(harness: Any) -> None:
    parameters = SamplingParameters(seed=5, n=6, max_tokens=8, logprobs=0)
    every = harness.serve(Request([1, 2, 3], parameters))[0]
    means = {
        tuple(output.token_ids): sum(entry.logprob for entry in output.logprobs) / len(output.token_ids)
        for output in every.outputs
    }
    best = harness.add(Request([1, 2, 3], SamplingParameters(seed=5, n=2, best_of=6, max_tokens=8)))
    harness.finish()
    result = harness.result(best)
    assert [tuple(output.token_ids) for output in result.outputs] == sorted(means, key=lambda key: -means[key])[:2]
    assert len(harness.deltas[best.request_id]) == 2 and result.outputs[0].logprobs is None
    assert result.usage.completion_tokens == 48


def test_logprobs_are_those_of_the_model(harness: Any) -> None:
    result = harness.serve(Request([1, 2], SamplingParameters(seed=2, temperature=0.3, max_tokens=5, logprobs=3)))[0]
    tokens = [1, 2]
    for entry, token in zip(result.outputs[0].logprobs, result.token_ids, strict=True):
        logits = harness.runner.logits_of(tokens, harness.runner.name_of(None)).astype(np.float64)
        assert entry.token_id == token and len(entry.top) == 3
        assert entry.logprob == pytest.approx(logits[token] - np.log(np.exp(logits).sum()), abs=1e-5)
        tokens.append(token)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_logits_end_only_their_request(make_core: Any, make_runner: Any, value: float) -> None:
    runner = make_runner(block_size=4)
    harness = make_core(runner)
    good, bad = (harness.add(Request([number] * 9, _greedy(max_tokens=8))) for number in (1, 2))
    victim = bad.outputs[0].sequence.id

    def spoil(batch: Batch, logits: torch.Tensor) -> torch.Tensor:
        row = [piece.sequence_id for piece in batch.sequences].index(victim)
        if batch.sequences[row].length == 1 and batch.sequences[row].context > 11:
            logits[row, 5] = value
        return logits

    runner.fault = spoil
    while not harness.collectors[bad.request_id].ended:
        harness.step()
    runner.fault = None
    harness.finish()
    broken = harness.result(bad)
    assert broken.finish_reason == "error" and broken.outputs[0].error and len(broken.token_ids) == 4
    assert harness.result(good).token_ids == harness.reference(good.request)
    again = harness.serve(bad.request)[0]
    assert again.usage.cached_tokens == 0, "what a broken sequence computed is not trusted"
    assert again.token_ids == harness.reference(bad.request)


def test_a_failing_pass_ends_its_requests_and_no_more(make_core: Any, make_runner: Any) -> None:
    runner = make_runner(block_size=4)
    harness = make_core(runner, max_sequences=2)
    caught = [harness.add(Request([number] * 9, _greedy(max_tokens=8, n=2))) for number in range(2)]
    spared = harness.add(Request([9] * 9, _greedy(max_tokens=8)))
    harness.step()

    def fail(batch: Batch, logits: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("the kernel has no such shape")

    runner.fault = fail
    harness.step()
    runner.fault = None
    for active in caught:
        result = harness.result(active)
        assert {output.finish_reason for output in result.outputs} == {"error"}
        assert "no such shape" in (result.outputs[0].error or "")
    harness.finish()
    assert harness.result(spared).token_ids == harness.reference(spared.request)
    assert harness.serve(caught[0].request)[0].token_ids == harness.reference(caught[0].request)


def test_usage_counts_time_and_tokens(harness: Any) -> None:
    usage = harness.serve(Request([1, 2, 3], _greedy(max_tokens=5)))[0].usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, 5)
    assert usage.first_token_seconds is not None
    assert 0 <= usage.queue_seconds <= usage.first_token_seconds <= usage.total_seconds


def test_what_ends_is_freed_without_the_garbage_collector(harness: Any) -> None:
    """Its pauses grow with the heap, and a server's heap is large."""
    gc.collect()
    gc.disable()
    try:
        harness.serve(Request([1, 2, 3], SamplingParameters(n=3, max_tokens=5)), Request([1, 2], _greedy(max_tokens=5)))
        left = [thing for thing in gc.get_objects() if type(thing) in (Sequence, Output, ActiveRequest)]
    finally:
        gc.enable()
    assert not left
