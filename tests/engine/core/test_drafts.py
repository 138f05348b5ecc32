"""Speculation in the engine: the same output in fewer passes, with everything else around it."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest

from llmasos.engine.grammar import GrammarCompiler
from llmasos.engine.grammar_vocabulary import GrammarVocabulary
from llmasos.engine.request import Grammar, Request, SamplingParameters
from llmasos.engine.speculation.prompt_lookup import PromptLookupProposer
from llmasos.engine.speculation.speculator import Speculator


class Eager(Speculator):
    """Guesses in every pass, right about two times in three, whatever it costs."""

    def __init__(self, harness: Any, seed: int) -> None:
        super().__init__(PromptLookupProposer())
        self._harness = harness
        self._random = random.Random(seed)

    def prepare(self, sequences: Sequence[Any], other_rows: int = 0) -> None:
        self._drafts.clear()
        for sequence in sequences:
            draft: list[int] = []
            name = self._harness.runner.name_of(sequence.adapter, sequence.steering)
            for _ in range(min(self._random.randint(0, 6), sequence.limit - len(sequence.tokens) - 1)):
                right = int(self._harness.runner.logits_of(sequence.tokens + draft, name).argmax())
                draft.append(right if self._random.random() < 0.67 else self._random.randrange(5))
            self._drafts[sequence.id] = self._allowed(sequence, draft)


@pytest.mark.parametrize("seed", range(15))
def test_drafts_change_nothing(seed: int, make_core: Any, make_runner: Any) -> None:
    numbers = random.Random(seed)
    harness = make_core(
        make_runner(block_size=numbers.choice((2, 4))), blocks=numbers.choice((50, 90)), max_sequences=6
    )
    harness.core.speculator = Eager(harness, seed)
    harness.eos_ids = (7,)
    started = []
    for _ in range(10):
        parameters = SamplingParameters(
            temperature=numbers.choice((0.0, 0.0, 0.3)), seed=numbers.randrange(99), max_tokens=numbers.randint(1, 30),
            repetition_penalty=numbers.choice((1.0, 1.3)), min_tokens=numbers.choice((0, 1)),
            n=numbers.choice((1, 1, 2)), logprobs=numbers.choice((None, 0)),
        )  # fmt: skip
        request = Request([1] * numbers.choice((0, 9)) + [numbers.randrange(4)], parameters)
        started.append((request, harness.add(request)))
        harness.step(numbers.randint(0, 3))
    harness.finish()
    accepted = proposed = 0
    for request, active in started:
        result = harness.result(active)
        for choice, output in enumerate(result.outputs):
            assert output.token_ids == harness.reference(request, choice)
            assert output.logprobs is None or len(output.logprobs) == len(output.token_ids)
        accepted += result.usage.speculative_accepted
        proposed += result.usage.speculative_proposed
    assert 0 < accepted < proposed
    assert harness.core.speculator.accepted == accepted


def test_drafts_save_passes_and_drafts_of_others_cost_nobody_a_place(make_core: Any, make_runner: Any) -> None:
    passes = []
    for eager in (False, True):
        harness = make_core(make_runner(block_size=4), blocks=22)
        if eager:
            harness.core.speculator = Eager(harness, 1)
        requests = [Request([number] * 9, SamplingParameters(temperature=0.0, max_tokens=31)) for number in range(2)]
        results = harness.serve(*requests)
        assert [result.token_ids for result in results] == [harness.reference(request) for request in requests]
        assert harness.core.scheduler.preemptions == 0
        passes.append(harness.runner.passes)
    assert passes[1] < 0.7 * passes[0]


def test_drafts_respect_grammar_and_end(make_core: Any, make_runner: Any, byte_tokenizer: Any) -> None:
    compiler = GrammarCompiler(GrammarVocabulary(byte_tokenizer, vocabulary_size=258, eos_ids=[256]))
    grammar = Grammar(
        "json_schema", {"type": "array", "items": {"enum": ["aab", "aac", 12]}, "minItems": 3, "maxItems": 6}
    )
    texts = []
    for eager in (False, True):
        harness = make_core(make_runner(vocabulary_size=258), tokenizer=byte_tokenizer)
        harness.eos_ids = (256,)
        if eager:
            harness.core.speculator = Eager(harness, 1)
        requests = [
            Request([1, number], SamplingParameters(seed=number, max_tokens=80), grammar=grammar) for number in range(6)
        ]
        started = [harness.add(request, grammars=[compiler.start(grammar)]) for request in requests]
        harness.finish()
        texts.append([harness.result(active).text for active in started])
    assert texts[0] == texts[1]
    assert all(3 <= len(json.loads(text)) <= 6 for text in texts[0])


def test_a_long_forced_text_keeps_to_the_budget_of_prompts(
    make_core: Any, make_runner: Any, byte_tokenizer: Any
) -> None:
    compiler = GrammarCompiler(GrammarVocabulary(byte_tokenizer, vocabulary_size=258, eos_ids=[256]))
    grammar = Grammar("choice", ("x" + "forced " * 14 + "a", "y" + "b" * 3))
    runner = make_runner(vocabulary_size=258, context_length=300)
    harness = make_core(runner, blocks=200, max_batch_tokens=24, tokenizer=byte_tokenizer)
    harness.eos_ids = (256,)
    forced = harness.add(
        Request(
            [1],
            SamplingParameters(logit_bias={byte_tokenizer.encode("x").ids[0]: 50.0}, max_tokens=200),
            grammar=grammar,
        ),
        grammars=[compiler.start(grammar)],
    )
    streams = [
        harness.add(Request([number], SamplingParameters(temperature=0.0, max_tokens=20))) for number in range(3)
    ]
    harness.finish()
    assert harness.result(forced).text == "x" + "forced " * 14 + "a"
    assert max(sum(length for _, length in batch) for batch in runner.batches) <= 24
    assert all(batch[-1][1] == max(length for _, length in batch) for batch in harness.runner.batches), (
        "prompts are last"
    )
    for active in streams:
        assert harness.result(active).token_ids == harness.reference(active.request)


def test_drafts_beyond_a_stop_text_are_dropped(make_core: Any, make_runner: Any, byte_tokenizer: Any) -> None:
    results = []
    for eager in (False, True):
        harness = make_core(make_runner(vocabulary_size=258, block_size=2), tokenizer=byte_tokenizer)
        if eager:
            harness.core.speculator = Eager(harness, 2)
        free = harness.serve(
            *[Request([1, number], SamplingParameters(temperature=0.0, max_tokens=20)) for number in range(8)]
        )
        stops = [byte_tokenizer.decode(result.token_ids[7:8]) for result in free]
        requests = [
            Request([1, number], SamplingParameters(temperature=0.0, max_tokens=20, stop=(stop,)))
            for number, stop in enumerate(stops)
        ]
        stopped = harness.serve(*requests)
        assert all(len(result.token_ids) <= 8 for result in stopped)
        results.append([(result.text, result.token_ids) for result in stopped])
    assert results[0] == results[1]


def test_prompt_lookup_finds_repetition_by_itself(make_core: Any, make_runner: Any) -> None:
    runner = make_runner(block_size=4, vocabulary_size=24, context_length=500, memory=2)
    harness = make_core(runner, blocks=200, proposer=PromptLookupProposer())
    speculator = harness.core.speculator
    speculator.passed = lambda rows, seconds: speculator.costs.record(rows, 0.010 + 0.001 * rows)
    request = Request([3, 4, 5], SamplingParameters(temperature=0.0, max_tokens=400))
    result = harness.serve(request)[0]
    assert result.token_ids == harness.reference(request)
    assert runner.passes < 200 and result.usage.speculative_accepted > 200
    assert not harness.core.speculator._proposer._indexes, "ended sequences are forgotten"
