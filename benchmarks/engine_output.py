"""What it costs to choose tokens and turn them into text: sampler, grammar masks, detokeniser, prompt lookup.

Processor time of the calling thread, so other programs on the machine disturb little.
``python benchmarks/engine_output.py [--tokenizer tokenizer.json --eos ID]``; with a tokenizer, grammars and text too.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from llmasos.engine.detokenizer import Detokenizer, StopAutomaton, text_decoder
from llmasos.engine.grammar import GrammarCompiler
from llmasos.engine.grammar_vocabulary import GrammarVocabulary
from llmasos.engine.request import Grammar, SamplingParameters
from llmasos.engine.sampler import Sampler, SamplingState, TokenMasks
from llmasos.engine.sampling.masks import words_of
from llmasos.engine.speculation.prompt_lookup import PromptLookup

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "temperature_in_celsius": {"type": "integer"},
        "colours": {"type": "array", "items": {"enum": ["red", "green"]}},
    },
    "required": ["name", "temperature_in_celsius", "colours"],
    "additionalProperties": False,
}
DOCUMENT = '{"name": "Ada Lovelace", "temperature_in_celsius": 25, "colours": ["red", "green"]}'


def microseconds(call: Callable[[], object], repeats: int = 100) -> float:
    """Median processor time of a call."""
    for _ in range(5):
        call()
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        call()
        times.append(time.thread_time() - start)
    return statistics.median(times) * 1e6


def sampler_rows() -> dict[str, dict[str, float]]:
    """Microseconds per call of the sampler, by parameters, for batches of 1 and 16 and two vocabularies."""
    cases = {
        "greedy": SamplingParameters(temperature=0),
        "temperature": SamplingParameters(temperature=0.8),
        "temperature, min_p": SamplingParameters(temperature=0.8, min_p=0.05),
        "top_k 40": SamplingParameters(temperature=0.8, top_k=40),
        "top_k 40, top_p 0.9": SamplingParameters(temperature=0.8, top_k=40, top_p=0.9),
        "top_p 0.9": SamplingParameters(temperature=0.8, top_p=0.9),
        "typical_p 0.9": SamplingParameters(typical_p=0.9),
        "greedy, penalties": SamplingParameters(temperature=0, repetition_penalty=1.1, presence_penalty=0.1),
        "greedy, 5 logprobs": SamplingParameters(temperature=0, logprobs=5),
        "greedy, masked": SamplingParameters(temperature=0),
    }
    prompt = list(range(0, 3000, 3))
    found: dict[str, dict[str, float]] = {name: {} for name in cases}
    for vocabulary in (49_152, 151_936):
        ranked = -1.5 * torch.arange(1, vocabulary + 1).log()  # chances fall with the rank as those of words do
        for rows in (1, 16):
            logits = torch.stack([ranked[torch.randperm(vocabulary)] for _ in range(rows)])
            for name, parameters in cases.items():
                states = [SamplingState(parameters, prompt, seed=row) for row in range(rows)]
                bits = np.full((rows, words_of(vocabulary)), -1, dtype=np.int32)
                masks = TokenMasks(range(rows), bits) if "masked" in name else None
                sampler = Sampler()
                found[name][f"{rows} x {vocabulary}"] = microseconds(
                    lambda: sampler.sample(logits, states, masks=masks)  # noqa: B023 - called at once
                )
    return found


def grammar_figures(tokenizer: Tokenizer, eos: int) -> dict[str, float]:
    """Building, compiling and one output under a JSON schema."""
    start = time.thread_time()
    vocabulary = GrammarVocabulary(tokenizer, vocabulary_size=tokenizer.get_vocab_size(), eos_ids=[eos])
    _ = vocabulary.tokenizer
    found = {"vocabulary, ms": (time.thread_time() - start) * 1e3}
    compiler = GrammarCompiler(vocabulary)
    grammar = Grammar("json_schema", SCHEMA)
    start = time.thread_time()
    compiler.start(grammar)
    found["compile a schema, ms"] = (time.thread_time() - start) * 1e3
    found["start again, us"] = microseconds(lambda: compiler.start(grammar))
    masks: list[float] = []
    forced_times: list[float] = []
    total = forced = 0
    state = compiler.start(grammar)
    rest = tokenizer.encode(DOCUMENT).ids
    while rest and not state.finished:
        start = time.thread_time()
        taken = state.take_forced(1000)
        forced_times.append(time.thread_time() - start)
        forced += len(taken)
        total += len(taken)
        rest = rest[len(taken) :]
        if rest:
            start = time.thread_time()
            state.look()
            masks.append(time.thread_time() - start)
            state.advance(rest.pop(0))
            total += 1
    found |= {
        "mask, us median": statistics.median(masks) * 1e6,
        "mask, us worst": max(masks) * 1e6,
        "forced tokens, us median": statistics.median(forced_times) * 1e6,
        "tokens": total,
        "of these forced": forced,
    }
    return found


def text_figures(tokenizer: Tokenizer) -> dict[str, float]:
    """Microseconds per token of text, without and with stop texts."""
    text = Path(__file__).read_text(encoding="utf-8") * 3
    ids = tokenizer.encode(text).ids
    decoder = text_decoder(tokenizer)
    automaton = StopAutomaton(["\n\n\n\n", "<|im_end|>", "###"])

    def stream(stops: StopAutomaton | tuple[str, ...]) -> None:
        detokenizer = Detokenizer(decoder, stops=stops)
        for token in ids:
            detokenizer.push(token)

    return {
        "text, us per token": microseconds(lambda: stream(()), 20) / len(ids),
        "with three stop texts, us per token": microseconds(lambda: stream(automaton), 20) / len(ids),
    }


def lookup_figures() -> dict[str, float]:
    """Prompt lookup: indexing a prompt, and each token after it."""
    numbers = random.Random(1)
    tokens = [numbers.randrange(49_152) for _ in range(3000)]

    def extend() -> None:
        sequence = tokens[:1000]
        index = PromptLookup(sequence)
        for token in tokens[1000:2000]:
            sequence.append(token)
            index.update(sequence)

    index = microseconds(lambda: PromptLookup(tokens[:1000]), 20)
    return {"index 1000 tokens, us": index, "each token, us": (microseconds(extend, 5) - index) / 1000}


def rounded(value: object) -> object:
    """Figures with three digits are enough."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return float(f"{value:.3g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json of a model")
    parser.add_argument("--eos", type=int, default=0, help="its end token")
    options = parser.parse_args()
    found: dict[str, object] = {"sampler, us per call": sampler_rows(), "prompt lookup": lookup_figures()}
    if options.tokenizer is not None:
        tokenizer = Tokenizer.from_file(str(options.tokenizer))
        found["grammar"] = grammar_figures(tokenizer, options.eos)
        found["text"] = text_figures(tokenizer)
    print(json.dumps(rounded(found), indent=2))


if __name__ == "__main__":
    main()
