"""Random schedules of arrivals, cancellations and evictions against a one-by-one reference."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from llmasos.engine.batch import Batch, SequenceSlice
from llmasos.engine.cache import KVCacheManager
from llmasos.engine.scheduler import Scheduler
from llmasos.engine.sequence import Sequence, State

pytestmark = pytest.mark.integration  # by its time: seconds, not milliseconds

BLOCKS = 14
SIZE = 4


class Driver:
    """The engine's loop without sampling, threads and text: greedy tokens, drafts and forced tokens at random."""

    def __init__(self, runner: Any, *, blocks: int = BLOCKS, seed: int = 0, **options: Any) -> None:
        self.runner = runner
        runner.allocate_cache(blocks)
        self.cache = KVCacheManager(blocks, runner.block_size, runner.copy_block)
        self.scheduler = Scheduler(self.cache, **options)
        self.random = random.Random(seed)
        self.live: dict[Sequence, int] = {}
        self.done: list[Sequence] = []
        self.number = 0

    def add(self, tokens: list[int], length: int, **values: Any) -> Sequence:
        self.number += 1
        limit = min(len(tokens) + length, self.cache.capacity)
        sequence = Sequence(self.number, list(tokens), limit=limit, arrival=float(self.number), **values)
        sequence.namespace = sequence.adapter
        self.live[sequence] = 0
        self.scheduler.add(sequence)
        return sequence

    def fork(self, parent: Sequence) -> Sequence:
        self.number += 1
        child = Sequence(self.number, list(parent.tokens), limit=parent.limit, adapter=parent.adapter)
        child.prompt_length = parent.prompt_length
        child.namespace = parent.namespace
        self.live[child] = 0
        self.scheduler.add_fork(parent, child)
        return child

    def cancel(self, sequence: Sequence) -> None:
        self.scheduler.remove(sequence)
        del self.live[sequence]

    def greedy(self, sequence: Sequence, tokens: list[int]) -> int:
        return int(self.runner.logits_of(tokens, self.runner.name_of(sequence.adapter)).argmax())

    def propose(self, sequence: Sequence) -> list[int]:
        room = sequence.limit - len(sequence.tokens) - 1
        draft: list[int] = []
        for _ in range(min(room, self.random.choice((0, 0, 1, 3)))):
            right = self.greedy(sequence, sequence.tokens + draft)
            draft.append(right if self.random.random() < 0.7 else 0)
        return draft

    def step(self, speculate: bool = False) -> int:
        plan = self.scheduler.schedule(self.propose if speculate else None)
        tokens: list[int] = []
        positions: list[int] = []
        slices: list[SequenceSlice] = []
        wanted: list[int] = []
        for sequence, length in plan:
            known = sequence.tokens + sequence.draft
            end = sequence.computed + length
            start = len(tokens)
            slices.append(
                SequenceSlice(start, length, sequence.computed, sequence.table, sequence.adapter, sequence.id)
            )
            tokens += known[sequence.computed : end]
            positions += range(sequence.computed, end)
            if end == len(known):
                wanted += range(len(tokens) - 1 - len(sequence.draft), len(tokens))
        if not plan:
            return 0
        batch = Batch(torch.tensor(tokens), torch.tensor(positions), slices, torch.tensor(wanted, dtype=torch.int64))
        best = self.runner.forward(batch).argmax(-1).tolist()
        for sequence, length in plan:
            draft, sequence.draft = sequence.draft, []
            if sequence.computed + length < len(sequence.tokens) + len(draft):
                sequence.computed += length
                self.scheduler.advanced(sequence, caught_up=False)
                continue
            rows, best = best[: 1 + len(draft)], best[1 + len(draft) :]
            accepted = 0
            while accepted < len(draft) and rows[accepted] == draft[accepted]:
                accepted += 1
            sequence.computed += length - len(draft) + accepted
            sequence.tokens += rows[: accepted + 1]
            self.scheduler.advanced(sequence, caught_up=True)
            assert len(sequence.tokens) <= sequence.limit
            if len(sequence.tokens) == sequence.limit:
                self.cancel(sequence)
                self.done.append(sequence)
        assert not best
        return len(plan)

    def check(self) -> None:
        self.cache.check_integrity(self.live)
        scheduler = self.scheduler
        assert scheduler.running == sum(s.state in (State.PREFILL, State.DECODE) for s in self.live)
        assert scheduler.waiting == sum(s.state is State.WAITING for s in self.live)
        assert scheduler.running <= scheduler.max_sequences

    def finish(self) -> None:
        for _ in range(100_000):
            if not self.live:
                break
            assert self.step(), f"nobody gets on: {list(self.live)}"
        else:
            raise AssertionError("the schedule does not end")
        self.check()
        assert self.cache.available == self.cache.pool.total
        self.cache.clear()
        assert self.cache.pool.free == self.cache.pool.total and self.cache.tree.nodes == 0
        assert not self.scheduler._leaders
        for sequence in self.done:
            assert sequence.tokens == self.reference(sequence), f"{sequence!r} went wrong"

    def reference(self, sequence: Sequence) -> list[int]:
        tokens = sequence.tokens[: sequence.prompt_length]
        while len(tokens) < sequence.limit:
            tokens.append(self.greedy(sequence, tokens))
        return tokens


class Schedules(RuleBasedStateMachine):
    make_runner: Any
    sequences = Bundle("sequences")

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver(self.make_runner(block_size=SIZE), max_batch_tokens=24, max_sequences=5, aging=3.0)

    @rule(
        target=sequences,
        start=st.integers(0, 3),
        tokens=st.lists(st.integers(0, 2), min_size=1, max_size=26),
        length=st.integers(1, 30),
        priority=st.integers(-1, 2),
        adapter=st.sampled_from([None, None, "lora"]),
    )
    def arrive(self, start: int, tokens: list[int], length: int, priority: int, adapter: str | None) -> Sequence:
        return self.driver.add([1] * 5 * start + tokens, length, priority=priority, adapter=adapter)

    @rule(target=sequences, sequence=sequences, extra=st.lists(st.integers(0, 2), max_size=5))
    def go_on_from(self, sequence: Sequence, extra: list[int]) -> Sequence:
        """A further turn of a conversation, or the same prompt once more."""
        return self.driver.add(sequence.tokens[:40] + extra, 5)

    @rule(target=sequences, sequence=sequences)
    def fork(self, sequence: Sequence) -> Sequence:
        if sequence.state is not State.DECODE or sequence not in self.driver.live:
            return sequence
        return self.driver.fork(sequence)

    @rule(sequence=sequences)
    def cancel(self, sequence: Sequence) -> None:
        if sequence in self.driver.live:
            self.driver.cancel(sequence)

    @rule(count=st.integers(1, 8), speculate=st.booleans())
    def step(self, count: int, speculate: bool) -> None:
        for _ in range(count):
            self.driver.step(speculate)
            self.driver.check()

    @rule(count=st.integers(1, 6))
    def evict(self, count: int) -> None:
        cache = self.driver.cache
        cache.pool.give_back(cache.tree.evict(count))

    @rule()
    def unload(self) -> None:
        if not any(sequence.adapter and sequence.node for sequence in self.driver.live):
            self.driver.cache.drop("lora")

    @rule(sequence=sequences, count=st.integers(1, 20))
    def force(self, sequence: Sequence, count: int) -> None:
        """Tokens that a grammar forces: known without a pass."""
        if sequence.state is State.DECODE:
            room = sequence.limit - len(sequence.tokens) - 1
            for _ in range(min(count, room)):
                sequence.tokens.append(self.driver.greedy(sequence, sequence.tokens))

    @invariant()
    def intact(self) -> None:
        self.driver.check()

    def teardown(self) -> None:
        self.driver.finish()


def test_random_schedules_keep_the_cache_intact(make_any_runner: Any) -> None:
    Schedules.make_runner = staticmethod(make_any_runner)
    run_state_machine_as_test(
        Schedules,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def _random_schedule(make_runner: Any, seed: int) -> Driver:
    numbers = random.Random(seed)
    driver = Driver(
        make_runner(block_size=numbers.choice((2, 4, 8))),
        blocks=numbers.randint(16, 30),
        seed=seed,
        max_batch_tokens=numbers.choice((8, 16, 64)),
        max_sequences=numbers.choice((2, 4, 9)),
        aging=numbers.choice((0.5, 5.0)),
    )
    for _ in range(40):
        for _ in range(numbers.choice((0, 0, 1, 4))):
            prompt = [1] * numbers.randint(0, 14) + [numbers.randint(0, 3) for _ in range(numbers.randint(1, 8))]
            priority, adapter = numbers.choice((0, 0, 1)), numbers.choice((None, "lora"))
            driver.add(prompt, numbers.randint(1, 12), priority=priority, adapter=adapter)
        if driver.live and numbers.random() < 0.15:
            driver.cancel(numbers.choice(list(driver.live)))
        decoding = driver.scheduler.decoding
        if decoding and numbers.random() < 0.1:
            driver.fork(numbers.choice(decoding))
        driver.step(numbers.random() < 0.5)
        driver.check()
    driver.finish()
    return driver


def test_a_hundred_random_schedules_meet_every_case(make_any_runner: Any) -> None:
    """Plain random numbers reach far more schedules in the same time than hypothesis does, without its shrinking."""
    drivers = [_random_schedule(make_any_runner, seed) for seed in range(100)]
    assert sum(driver.scheduler.preemptions for driver in drivers) > 50
    assert sum(driver.cache.copies for driver in drivers) > 50
    assert sum(driver.cache.evictions for driver in drivers) > 50
    assert sum(sequence.cached for driver in drivers for sequence in driver.done) > 500
    if hasattr(make_any_runner, "static_logits"):
        counts = [driver.runner.static.counts for driver in drivers]
        assert sum(count.static_passes for count in counts) > 1000
        assert sum(count.eager_passes for count in counts) > 1000
        assert sum(count.forgotten for count in counts) > 50


@pytest.mark.integration
def test_thousands_of_random_schedules(make_any_runner: Any) -> None:
    for seed in range(1000, 2000):
        _random_schedule(make_any_runner, seed)
