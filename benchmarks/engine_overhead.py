"""What one pass costs beside the model: scheduler, cache, layout, sampler, detokeniser, deltas.

A runner that computes nothing serves prepared logits. ``python benchmarks/engine_overhead.py [--profile STREAMS]``
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import statistics
import time
from collections.abc import Callable
from queue import SimpleQueue

import torch
from tokenizers import Tokenizer, decoders, models

from llmasos.engine.batch import Batch
from llmasos.engine.core import EngineCore
from llmasos.engine.detokenizer import text_decoder
from llmasos.engine.output import ActiveRequest
from llmasos.engine.request import Delta, Request, SamplingParameters
from llmasos.engine.speculation.prompt_lookup import PromptLookupProposer
from llmasos.engine.speculation.speculator import Proposer

VOCABULARY = 49_152


class IdleRunner:
    """Prepared logits in place of a model."""

    block_size = 16
    vocabulary_size = VOCABULARY
    context_length = 8192
    bytes_per_block = 1
    capabilities = frozenset({"logits"})

    def __init__(self) -> None:
        # Chances that fall with the rank like those of words, in another order for each row.
        ranked = -1.5 * torch.arange(1, VOCABULARY + 1).log()
        self._logits = torch.stack([ranked[torch.randperm(VOCABULARY)] for _ in range(199)])
        self.seconds = 0.0

    def allocate_cache(self, blocks: int) -> None: ...
    def copy_block(self, source: int, target: int) -> None: ...
    def close(self) -> None: ...

    def forward(self, batch: Batch) -> torch.Tensor:
        start = time.thread_time()
        # Other rows in every pass: a text that repeats itself would be guessed, and more rows are not what is measured.
        wanted = self._logits[torch.randint(199, (len(batch.logits_rows),))]
        self.seconds += time.thread_time() - start
        return wanted


def tokenizer() -> Tokenizer:
    """A byte-level vocabulary of the usual size."""
    vocabulary = {f"w{number}": number for number in range(VOCABULARY)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.decoder = decoders.ByteLevel()
    return made


def prepared(
    streams: int, parameters: SamplingParameters, proposer: Proposer | None = None
) -> tuple[EngineCore, IdleRunner]:
    runner = IdleRunner()
    core = EngineCore(runner, 20_000, max_batch_tokens=8192, max_sequences=64, aging=30.0, proposer=proposer)
    decoder = text_decoder(tokenizer())
    for stream in range(streams):
        deltas: SimpleQueue[Delta] = SimpleQueue()
        prompt = [(7 * stream + number) % VOCABULARY for number in range(200)]
        core.add(
            ActiveRequest(
                Request(prompt, parameters), str(stream), prompt, limit=8000, decoder=decoder, emit=deltas.put
            )
        )
    for _ in range(20):
        core.step()
    assert len(core.scheduler.decoding) == streams
    return core, runner


def measure(streams: int, parameters: SamplingParameters, proposer: Proposer | None = None, passes: int = 400) -> float:
    """Median seconds of one pass, without the runner's."""
    core, runner = prepared(streams, parameters, proposer)
    samples = []
    for _ in range(passes):
        runner.seconds = 0.0
        start = time.thread_time()
        core.step()
        samples.append(time.thread_time() - start - runner.seconds)
    return statistics.median(samples)


CASES: dict[str, Callable[[], SamplingParameters]] = {
    "greedy": lambda: SamplingParameters(temperature=0.0),
    "temperature": lambda: SamplingParameters(temperature=0.8, seed=1),
    "top-p": lambda: SamplingParameters(temperature=0.8, top_p=0.95, seed=1),
    "top-k and top-p": lambda: SamplingParameters(temperature=0.8, top_k=40, top_p=0.95, seed=1),
    "penalties and stop": lambda: SamplingParameters(temperature=0.0, repetition_penalty=1.1, stop=("\n\n", "User:")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=int, metavar="STREAMS", help="profile greedy passes of this many streams")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.profile:
        core, _ = prepared(options.profile, CASES["greedy"]())
        profile = cProfile.Profile()
        profile.enable()
        for _ in range(500):
            core.step()
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(18)
        return
    table = {
        name: {streams: measure(streams, case()) * 1e6 for streams in (1, 4, 16, 32, 64)}
        for name, case in CASES.items()
    }
    table["greedy, looking up"] = {
        streams: measure(streams, CASES["greedy"](), PromptLookupProposer()) * 1e6 for streams in (1, 4, 16, 32, 64)
    }
    if options.json:
        print(json.dumps(table))
        return
    print(f"{'us per pass':20}" + "".join(f"{streams:>9}" for streams in (1, 4, 16, 32, 64)))
    for name, row in table.items():
        print(f"{name:20}" + "".join(f"{value:9.0f}" for value in row.values()))


if __name__ == "__main__":
    main()
