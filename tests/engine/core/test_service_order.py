"""Who is served when: streams never stall, short prompts pass long ones, ranks, deadlines, preemption."""

from __future__ import annotations

import time
from typing import Any

from llmasos.engine.request import Request, SamplingParameters
from llmasos.engine.sequence import State


def _greedy(length: int, **values: Any) -> SamplingParameters:
    return SamplingParameters(temperature=0.0, max_tokens=length, **values)


def test_no_stream_stalls_while_a_long_prompt_loads(make_core: Any, make_runner: Any) -> None:
    runner = make_runner(block_size=4, context_length=1000)
    harness = make_core(runner, blocks=400, max_batch_tokens=16)
    streams = [harness.add(Request([number], _greedy(60))) for number in range(4)]
    harness.step(3)
    long = harness.add(Request([number % 5 for number in range(500)], _greedy(2)))
    for _ in range(30):
        before = [len(harness.deltas[active.request_id]) for active in streams]
        harness.step()
        assert [len(harness.deltas[active.request_id]) for active in streams] == [count + 1 for count in before]
        rows = [length for _, length in runner.batches[-1]]
        assert rows[:4] == [1, 1, 1, 1], "decoding goes first in the batch"
        assert sum(rows) == 16, "the rest of the budget goes to the prompt"
    assert not harness.deltas[long.request_id]
    harness.finish()


def test_a_short_prompt_passes_a_long_one(make_core: Any, make_runner: Any) -> None:
    runner = make_runner(block_size=4, context_length=2000)
    harness = make_core(runner, blocks=800, max_batch_tokens=32)
    long = harness.add(Request([number % 5 for number in range(1500)], _greedy(1)))
    harness.step(2)
    short = harness.add(Request([9] * 20, _greedy(1)))
    harness.step(3)
    assert harness.collectors[short.request_id].ended
    assert not harness.collectors[long.request_id].ended
    harness.finish()


def test_prompts_with_the_least_left_share_the_second_half(make_core: Any, make_runner: Any) -> None:
    runner = make_runner(block_size=4, context_length=2000)
    harness = make_core(runner, blocks=1500, max_batch_tokens=32)
    long, middle, short = (
        harness.add(Request([number] * length, _greedy(1))) for number, length in enumerate((1500, 700, 30))
    )
    harness.step()
    rows = dict(runner.batches[0])
    assert [rows.get(active.outputs[0].sequence.id, 0) for active in (long, middle, short)] == [16, 0, 16]
    harness.step(1)
    assert harness.collectors[short.request_id].ended
    harness.finish()


def test_higher_priority_goes_first(make_core: Any, make_runner: Any) -> None:
    harness = make_core(make_runner(), max_sequences=1)
    order: list[str] = []
    for name, priority in (("running", 0), ("low", 0), ("high", 0), ("highest", 3)):
        harness.add(Request([1, 2], _greedy(3), priority=priority if name != "high" else 2, request_id=name))
        if name == "running":
            harness.step()
    while not harness.core.idle:
        harness.step()
        order += [name for name, collector in harness.collectors.items() if collector.ended and name not in order]
    assert order == ["highest", "high", "running", "low"], "and takes the place of a lower one"


def test_low_priority_does_not_starve(make_core: Any, make_runner: Any) -> None:
    """An endless crowd of higher priority delays a request by no more than the head start of that priority."""
    harness = make_core(make_runner(), max_sequences=1, aging=0.02)
    patient = harness.add(Request([1, 2], _greedy(4), priority=0))
    deadline = time.monotonic() + 10
    while not harness.collectors[patient.request_id].ended:
        assert time.monotonic() < deadline, "starved"
        harness.add(Request([3], _greedy(2), priority=1))
        harness.step(2)
    harness.finish()


def test_the_first_in_rank_takes_the_room_of_the_last(make_core: Any, make_runner: Any) -> None:
    harness = make_core(make_runner(block_size=4), blocks=8, max_batch_tokens=64)
    first = harness.add(Request([1] * 8, _greedy(22)))
    last = harness.add(Request([2] * 8, _greedy(20)))
    harness.finish()
    assert harness.result(first).usage.preemptions == 0
    assert harness.result(last).usage.preemptions > 0
    for active in (first, last):
        assert harness.result(active).token_ids == harness.reference(active.request)


def test_a_preempted_sequence_keeps_its_place_in_the_queue(make_core: Any, make_runner: Any) -> None:
    harness = make_core(make_runner(block_size=4), blocks=8)
    harness.add(Request([1] * 8, _greedy(22)))
    second = harness.add(Request([2] * 8, _greedy(20)))
    while not harness.core.scheduler.preemptions:
        harness.step()
    third = harness.add(Request([3] * 8, _greedy(2)))
    while third.outputs[0].sequence.state is State.WAITING:
        harness.step()
    ended = harness.collectors[second.request_id].ended
    assert ended or second.outputs[0].sequence.state is not State.WAITING, "the third was let in before the second"
    harness.finish()


def test_admission_leaves_everybody_room_to_grow(make_core: Any, make_runner: Any) -> None:
    harness = make_core(make_runner(block_size=4), blocks=12)
    harness.add(Request([1] * 8, _greedy(6)))
    harness.add(Request([2] * 8, _greedy(6)))
    harness.step()
    harness.add(Request([3] * 27, _greedy(1)))  # would take the 7 blocks that are free
    harness.finish()
    assert harness.core.scheduler.preemptions == 0


def test_admission_asks_for_the_prompt_not_for_the_longest_output(make_core: Any, make_runner: Any) -> None:
    harness = make_core(make_runner(block_size=4, context_length=400), blocks=40)
    for number in range(8):
        harness.add(Request([number] * 5, SamplingParameters(temperature=0.0)))
    harness.step(2)
    assert harness.core.scheduler.running == 8, "in the worst case each would need all blocks"
    harness.core.end_all("cancelled")
    harness.finish()


def test_deadlines_end_running_and_waiting_requests(make_core: Any, make_runner: Any) -> None:
    harness = make_core(make_runner(), max_sequences=1)
    soon = time.monotonic() + 1000
    running = harness.add(Request([1], SamplingParameters(temperature=0.0, ignore_eos=True), deadline=soon))
    waiting = harness.add(Request([1], _greedy(5), deadline=soon))
    late = harness.add(Request([1], _greedy(5), deadline=soon - 2000))
    harness.step(3)
    assert harness.result(late).finish_reason == "deadline"
    running.deadline = waiting.deadline = time.monotonic()  # the time has come
    harness.step()
    assert harness.core.idle
    assert harness.result(running).finish_reason == "deadline" and len(harness.result(running).token_ids) == 3
    assert harness.result(waiting).finish_reason == "deadline" and not harness.result(waiting).token_ids
    harness.finish()


def test_cancelling_frees_everything_at_once_in_every_state(make_core: Any, make_runner: Any) -> None:
    runner = make_runner(block_size=4, context_length=400)
    harness = make_core(runner, blocks=90, max_batch_tokens=16, max_sequences=3)
    decoding = harness.add(Request([1] * 9, _greedy(50, n=2)))
    harness.step(3)
    prefilling = harness.add(Request([2] * 100, _greedy(5)))
    following = harness.add(Request([2] * 100 + [3], _greedy(5)))
    waiting = harness.add(Request([4] * 9, _greedy(5)))
    harness.step(2)
    states = {
        active: [output.sequence and output.sequence.state for output in active.outputs]
        for active in (decoding, prefilling, following, waiting)
    }
    assert states[decoding] == [State.DECODE] * 2 and states[prefilling] == [State.PREFILL]
    assert states[following] == states[waiting] == [State.WAITING]
    for active in (prefilling, waiting, decoding, following):
        harness.core.end(active, "cancelled")
        harness.check()
        assert harness.result(active).finish_reason == "cancelled"
    assert harness.core.idle and not harness.core.scheduler.running
    harness.core.end(decoding, "cancelled")  # once more is no harm
    harness.core.step()
    harness.finish()


def test_a_follower_goes_on_when_its_leader_is_cancelled(make_core: Any, make_runner: Any) -> None:
    harness = make_core(make_runner(block_size=4, context_length=400), blocks=90, max_batch_tokens=16)
    leader = harness.add(Request([2] * 100, _greedy(5)))
    follower = harness.add(Request([2] * 100 + [3], _greedy(5)))
    harness.step(2)
    harness.core.end(leader, "cancelled")
    harness.finish()
    assert harness.result(follower).token_ids == harness.reference(follower.request)


def test_a_follower_waits_for_the_common_part_only(make_core: Any, make_runner: Any) -> None:
    runner = make_runner(block_size=4, context_length=2000)
    harness = make_core(runner, blocks=800, max_batch_tokens=16)
    leader = harness.add(Request([2] * 32 + [5] * 1000, _greedy(1)))
    follower = harness.add(Request([2] * 32 + [6] * 8, _greedy(1)))
    harness.step(6)
    assert harness.collectors[follower.request_id].ended and not harness.collectors[leader.request_id].ended
    assert runner.rows <= 6 * 16 and harness.result(follower).usage.prompt_tokens == 40
    harness.finish()


def test_thousands_cancelled_in_the_queue_leave_nothing(make_core: Any, make_runner: Any) -> None:
    harness = make_core(make_runner(), max_sequences=1)
    harness.add(Request([1], _greedy(100)))
    harness.step()
    for _ in range(2000):
        harness.core.end(harness.add(Request([2, 3], _greedy(5))), "cancelled")
    assert harness.core.scheduler.waiting == 0
    assert len(harness.core.scheduler._waiting) <= 130
    harness.core.end_all("cancelled")
    harness.finish()
