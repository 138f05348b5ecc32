"""A model that shows every mistake of bookkeeping: its cache holds tokens, and its logits are a hash of what the
block table leads to."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from llmasos.engine.batch import Batch
from llmasos.engine.core import EngineCore
from llmasos.engine.detokenizer import text_decoder
from llmasos.engine.output import ActiveRequest
from llmasos.engine.request import Delta, Request
from llmasos.engine.sampler import Sampler, SamplingState
from llmasos.engine.sequence import State
from llmasos.engine.stream import Collector, Result
from static_token_runner import over_static_shapes

EMPTY = -1


class TokenCacheRunner:
    """Keys and values are (token, position, namespace); the logits of a row depend on its whole true prefix."""

    capabilities = frozenset({"logits", "adapters", "steering"})

    def __init__(
        self, *, block_size: int = 4, vocabulary_size: int = 32, context_length: int = 128, memory: int | None = None
    ) -> None:
        """``memory``: logits depend on this many latest tokens only, so greedy output soon repeats itself."""
        self.block_size = block_size
        self.vocabulary_size = vocabulary_size
        self.context_length = context_length
        self.bytes_per_block = 1024
        numbers = np.random.default_rng(7)
        self.low = numbers.standard_normal((4096, vocabulary_size)).astype(np.float32)
        self.high = numbers.standard_normal((4096, vocabulary_size)).astype(np.float32)
        self.memory = memory
        self.rows = 0
        self.passes = 0
        self.copies = 0
        self.batches: list[list[tuple[int, int]]] = []
        self.fault: Callable[[Batch, torch.Tensor], torch.Tensor] | None = None
        self.closed = False

    def allocate_cache(self, blocks: int) -> None:
        self.cache = np.full((blocks, self.block_size, 3), EMPTY, dtype=np.int64)

    def copy_block(self, source: int, target: int) -> None:
        self.copies += 1
        self.cache[target] = self.cache[source]

    def close(self) -> None:
        self.closed = True

    def forward(self, batch: Batch) -> torch.Tensor:
        self.passes += 1
        self.rows += len(batch.tokens)
        self.batches.append([(piece.sequence_id, piece.length) for piece in batch.sequences])
        tokens, positions = batch.tokens.tolist(), batch.positions.tolist()
        wanted = batch.logits_rows.tolist()
        assert wanted == sorted(set(wanted))
        self._check_layout(batch, positions)
        for piece in batch.sequences:
            name = self.name_of(piece.adapter, piece.steering)
            for row in range(piece.start, piece.start + piece.length):
                block, offset = divmod(positions[row], self.block_size)
                self.cache[piece.blocks[block], offset] = tokens[row], positions[row], name
        logits = np.empty((len(wanted), self.vocabulary_size), dtype=np.float32)
        for index, row in enumerate(wanted):
            piece = next(piece for piece in batch.sequences if piece.start <= row < piece.start + piece.length)
            length, name = positions[row] + 1, self.name_of(piece.adapter, piece.steering)
            stored = self.cache[piece.blocks[: -(-length // self.block_size)]].reshape(-1, 3)[:length]
            assert (stored[:, 1] == np.arange(length)).all(), "the cache does not hold these positions"
            assert (stored[:, 2] == name).all(), "the cache holds what another adapter computed"
            logits[index] = self.logits_of(stored[:, 0], name)
        result = torch.from_numpy(logits)
        return self.fault(batch, result) if self.fault is not None else result

    def logits_of(self, tokens: Sequence[int] | np.ndarray, name: int) -> np.ndarray:
        seen = tokens if self.memory is None else tokens[-self.memory :]
        digest = zlib.crc32(np.asarray([name, *seen], dtype=np.int64).tobytes())
        return self.low[digest & 0xFFF] + self.high[digest >> 12 & 0xFFF]

    @staticmethod
    def name_of(adapter: str | None, steering: object = None) -> int:
        return zlib.crc32(repr((adapter, steering)).encode())

    @staticmethod
    def _check_layout(batch: Batch, positions: list[int]) -> None:
        row = 0
        for piece in batch.sequences:
            assert piece.start == row
            row += piece.length
            assert positions[piece.start : row] == list(range(piece.context, piece.context + piece.length))
        assert row == len(positions) == len(batch.tokens)


class CoreHarness:
    """An engine core without its thread: passes are made one by one and deltas are kept."""

    def __init__(self, runner: TokenCacheRunner, *, blocks: int = 64, tokenizer: object = None, **options: object):
        values = {"max_batch_tokens": 64, "max_sequences": 16, "aging": 30.0} | options
        self.runner = runner
        self.core = EngineCore(runner, blocks, **values)  # type: ignore[arg-type]
        self.decoder = None if tokenizer is None else text_decoder(tokenizer)
        self.eos_ids: tuple[int, ...] = ()
        self.collectors: dict[str, Collector] = {}
        self.deltas: dict[str, list[Delta]] = {}

    def add(self, request: Request, *, grammars: list[object] | None = None) -> ActiveRequest:
        name = request.request_id or str(len(self.collectors))
        collector = self.collectors[name] = Collector()
        deltas = self.deltas[name] = []

        def emit(delta: Delta) -> None:
            assert not collector.ended, "a delta after the last one"
            deltas.append(delta)
            collector.add(delta)

        request.check(self.runner.vocabulary_size)
        longest = min(self.runner.context_length, self.core.cache.capacity)
        prompt, wanted = list(request.prompt_ids), request.sampling.max_tokens
        active = ActiveRequest(
            request, name, prompt, limit=longest if wanted is None else min(longest, len(prompt) + wanted),
            decoder=self.decoder, eos_ids=self.eos_ids, grammars=grammars, emit=emit,  # type: ignore[arg-type]
        )  # fmt: skip
        self.core.add(active)
        return active

    def check(self) -> None:
        sequences = [
            output.sequence
            for active in self.core.live
            for output in active.outputs
            if output.sequence is not None and output.sequence.state is not State.FINISHED
        ]
        self.core.cache.check_integrity(sequences)
        assert self.core.scheduler.running + self.core.scheduler.waiting == len(sequences)

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            self.core.step()
            self.check()

    def finish(self) -> None:
        for _ in range(20_000):
            if self.core.idle:
                break
            self.step()
        assert self.core.idle, "requests never end"
        assert self.core.cache.available == self.core.cache.pool.total, "blocks leaked"
        assert all(collector.ended for collector in self.collectors.values())

    def result(self, active: ActiveRequest) -> Result:
        return self.collectors[active.request_id].result()

    def serve(self, *requests: Request) -> list[Result]:
        started = [self.add(request) for request in requests]
        self.finish()
        return [self.result(active) for active in started]

    def reference(self, request: Request, choice: int = 0) -> list[int]:
        """Tokens of one output, made without engine, cache, batches or drafts."""
        tokens = list(request.prompt_ids)
        longest = min(self.runner.context_length, self.core.cache.capacity)
        wanted = request.sampling.max_tokens
        limit = longest if wanted is None else min(longest, len(tokens) + wanted)
        state = SamplingState(request.sampling, tokens, eos_ids=self.eos_ids, choice=choice)
        name = self.runner.name_of(request.adapter, request.steering)
        while len(tokens) < limit:
            logits = torch.from_numpy(self.runner.logits_of(tokens, name)[None].copy())
            token = Sampler().sample(logits, [state]).tokens[0]
            state.append(token)
            tokens.append(token)
            if token in state.end_ids:
                break
        return tokens[len(request.prompt_ids) :]


@pytest.fixture(scope="session")
def make_runner() -> type[TokenCacheRunner]:
    return TokenCacheRunner


@pytest.fixture(scope="session", params=["eager", "static"])
def make_any_runner(request: pytest.FixtureRequest) -> type[TokenCacheRunner]:
    """The same runner as it is, and with decoding passes over static shapes."""
    return TokenCacheRunner if request.param == "eager" else over_static_shapes(TokenCacheRunner)


@pytest.fixture(scope="session")
def make_core() -> type[CoreHarness]:
    return CoreHarness


@pytest.fixture(scope="session")
def byte_tokenizer() -> Tokenizer:
    """Every byte is a token: id = the byte in GPT-2's order; then ``</s>`` and ``<pad>``."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["</s>", "<pad>"])
    return tokenizer
