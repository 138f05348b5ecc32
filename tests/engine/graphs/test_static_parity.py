"""Static shapes against eager passes on real decoders: every architecture, every size around the buckets' borders."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from llmasos.engine.batch import Batch, SequenceSlice
from llmasos.engine.graphs.capture import PlainCalls
from llmasos.engine.graphs.decode import LONGEST_SLICE
from llmasos.engine.graphs.options import DecodeOptions
from llmasos.engine.runners.fused import FusedRunner
from recorded_graphs import RecordedGraphs
from tiny_decoders import CONFIGURATIONS, random_model

BLOCKS = 96
LARGEST = 8
TOLERANCE = {"fp32": 1e-5, "bf16": 0.02, "int8": 0.02}


class Sequences:
    """Sequences of random tokens with blocks in random places, fed to several runners in the same passes."""

    def __init__(self, runners: Sequence[FusedRunner], seed: int = 0) -> None:
        self.runners = runners
        self.numbers = random.Random(seed)
        self.free = self.numbers.sample(range(BLOCKS), BLOCKS)
        self.blocks: dict[int, list[int]] = {}
        self.length: dict[int, int] = {}
        for runner in runners:
            runner.allocate_cache(BLOCKS)

    def add(self, number: int) -> None:
        self.blocks[number], self.length[number] = [], 0

    def drop(self, number: int) -> None:
        self.free += self.blocks.pop(number)
        del self.length[number]

    def feed(self, rows: dict[int, int]) -> list[torch.Tensor]:
        """One pass of ``rows[number]`` new tokens for each sequence: the logits that each runner gives."""
        tokens: list[int] = []
        positions: list[int] = []
        slices = []
        for number, count in rows.items():
            context = self.length[number]
            table = self.blocks[number]
            while len(table) * 16 < context + count:
                table.append(self.free.pop())
            slices.append(SequenceSlice(len(tokens), count, context, table, None, number))
            tokens += [self.numbers.randrange(3, 320) for _ in range(count)]
            positions += range(context, context + count)
            self.length[number] += count
        wanted = torch.arange(len(tokens))
        batch = Batch(torch.tensor(tokens), torch.tensor(positions), slices, wanted)
        return [runner.forward(batch).clone() for runner in self.runners]


def caches(runner: FusedRunner) -> torch.Tensor:
    """(2, layers, blocks, 16, kv heads, dim) of keys and values."""
    return torch.stack(stores(runner)).float().unflatten(2, (-1, 16))


def stores(runner: FusedRunner) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values, each (layers, slots, kv heads, dim)."""
    attention = runner.decoder._attention  # type: ignore[attr-defined]
    return attention._keys.values, attention._values.values


def runners(folder: Path, precision: str, capture: PlainCalls | None = None) -> tuple[FusedRunner, FusedRunner]:
    eager = FusedRunner(folder, precision=precision, kernels="torch")
    static = FusedRunner(
        folder, precision=precision, kernels="torch", decode=DecodeOptions("static"), max_sequences=LARGEST,
        capture=capture or RecordedGraphs(),
    )  # fmt: skip
    return eager, static


def difference(found: list[torch.Tensor]) -> float:
    """Largest difference of a logit over their range."""
    assert torch.isfinite(found[1]).all()
    return float((found[0] - found[1]).abs().max() / (found[0].max() - found[0].min()))


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    random_model(request.param, path)
    return path


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama")
    random_model("llama", path)
    return path


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_logits_and_keys_equal_those_of_eager_passes(folder: Path, precision: str) -> None:
    eager, static = runners(folder, precision)
    feeding = Sequences((eager, static))
    starts = [120, 1, 15, 16, 17, 47, 64, 31, 3]  # windows of 20 that begin and end anywhere in a block
    for number, length in enumerate(starts):
        feeding.add(number)
        feeding.feed({number: length})
    for count in (1, 2, 3, 4, 5, 7, 8, 9, 8):
        for _ in range(2):
            chosen = feeding.numbers.sample(sorted(feeding.blocks), count)
            found = feeding.feed(dict.fromkeys(chosen, 1))
            assert difference(found) < TOLERANCE[precision]
            assert precision == "bf16" or torch.equal(found[0].argmax(-1), found[1].argmax(-1))
    counts = static.decode_counts
    assert counts is not None
    # Short prompts are decoded too; nine rows are more than the largest shape.
    assert (counts.eager_passes, counts.static_passes) == (7 + 2, 2 + 8 * 2)
    real, other = caches(eager), caches(static)[:, :, :BLOCKS]
    assert float((real - other).abs().max()) < (1e-4 if precision == "fp32" else 0.1)
    unused = torch.tensor(feeding.free)
    assert not other[:, :, unused].any(), "padding wrote into a block of nobody"
    assert not caches(static)[:, :, BLOCKS, 1:].any(), "padding is one token at most"
    eager.close()
    static.close()


def test_int8_weights_too(llama: Path) -> None:
    feeding = Sequences(runners(llama, "int8"))
    for number in range(5):
        feeding.add(number)
        feeding.feed({number: 20 + number})
    for count in (1, 3, 5):
        assert difference(feeding.feed(dict.fromkeys(range(count), 1))) < TOLERANCE["int8"]


def test_a_few_rows_of_one_sequence_are_rows_like_others(llama: Path) -> None:
    """A draft that is verified, tokens that a grammar forced: rows of a sequence see the rows before them."""
    eager, static = runners(llama, "fp32")
    feeding = Sequences((eager, static))
    for number, length in enumerate((30, 14, 100)):
        feeding.add(number)
        feeding.feed({number: length})
    for rows in ({0: 3}, {0: 1, 1: 4, 2: 2}, {1: 8}, {2: 5, 0: 3}):
        assert difference(feeding.feed(rows)) < 1e-5
    counts = static.decode_counts
    assert counts is not None and counts.static_passes == 4
    feeding.feed({0: LONGEST_SLICE + 1})
    assert counts.static_passes == 4


def test_neighbours_come_and_go_without_a_trace(llama: Path) -> None:
    """Random arrivals, ends and passes; blocks of those who left are used again."""
    eager, static = runners(llama, "fp32")
    feeding = Sequences((eager, static), seed=5)
    numbers = feeding.numbers
    for step in range(150):
        if len(feeding.blocks) < 9 and numbers.random() < 0.3:
            feeding.add(step)
            assert difference(feeding.feed({step: numbers.randint(1, 40)})) < 1e-5
        for number in list(feeding.blocks):
            if feeding.length[number] > 120 or numbers.random() < 0.03:
                feeding.drop(number)
        if feeding.blocks:
            chosen = numbers.sample(sorted(feeding.blocks), numbers.randint(1, len(feeding.blocks)))
            assert difference(feeding.feed(dict.fromkeys(chosen, 1))) < 1e-5
    counts = static.decode_counts
    assert counts is not None and counts.static_passes > 80 and counts.captured >= 4


def test_what_others_left_in_the_cache_changes_nothing(llama: Path) -> None:
    """A NaN in the scratch block, in free blocks or in those of a neighbour spoils nobody."""
    for runner in runners(llama, "fp32"):
        results = []
        for poison in (0.0, float("nan")):
            feeding = Sequences((runner,), seed=3)
            for cache in stores(runner):
                cache.fill_(poison)
            for number, length in enumerate((18, 9, 33)):
                feeding.add(number)
                feeding.feed({number: length})
            results.append(torch.cat([feeding.feed(dict.fromkeys(range(count), 1))[0] for count in (3, 1, 2, 3)]))
        assert torch.equal(results[0], results[1])


def test_plain_calls_and_recorded_graphs_agree_to_the_bit(llama: Path) -> None:
    _, recorded = runners(llama, "bf16")
    _, plain = runners(llama, "bf16", PlainCalls("cpu"))
    feeding = Sequences((plain, recorded))
    for number in range(6):
        feeding.add(number)
        first, second = feeding.feed({number: 10 + 9 * number})
        assert torch.equal(first, second)
    for count in (1, 6, 3, 6, 4):
        first, second = feeding.feed(dict.fromkeys(range(count), 1))
        assert torch.equal(first, second)


def test_a_new_cache_forgets_what_was_captured_over_the_old_one(llama: Path) -> None:
    graphs = RecordedGraphs()
    eager, static = runners(llama, "fp32", graphs)
    for _ in range(2):
        feeding = Sequences((eager, static))
        feeding.add(0)
        feeding.feed({0: 20})
        assert difference(feeding.feed({0: 1})) < 1e-5
    assert graphs.released == 1 and len(graphs.tapes) == 2
    static.close()
    assert graphs.released == 2


def test_all_of_a_pass_lies_on_the_device(llama: Path) -> None:
    """``meta`` refuses to mix with tensors of the CPU, as a GPU does."""
    runner = FusedRunner(llama, precision="bf16", device="meta", decode=DecodeOptions("static"), max_sequences=4)
    runner.allocate_cache(8)
    tokens, positions = (torch.zeros(4, dtype=torch.int64, device="meta") for _ in range(2))
    logits = runner.static_logits(tokens, positions, torch.zeros(4, 8, dtype=torch.int64, device="meta"))
    assert logits.device.type == "meta" and logits.shape == (4, 320)
    pieces = [SequenceSlice(0, 1, 20, [1, 2], None, 0), SequenceSlice(1, 1, 3, [0], None, 1)]
    batch = Batch(torch.tensor([5, 6]), torch.tensor([20, 3]), pieces, torch.arange(2))
    assert runner.forward(batch).shape == (2, 320)
    long = Batch(torch.arange(30), torch.arange(30), [SequenceSlice(0, 30, 0, [3, 4], None, 2)], torch.arange(30))
    assert runner.forward(long).device.type == "meta"
