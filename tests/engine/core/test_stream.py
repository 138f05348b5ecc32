from __future__ import annotations

import asyncio

import pytest

from llmasos.engine.request import Delta, TokenLogprob, Usage
from llmasos.engine.stream import Collector, LoopBridge, bridge_of

USAGE = Usage(prompt_tokens=1, completion_tokens=3)


def test_deltas_of_several_outputs_are_put_together() -> None:
    collector = Collector()
    entry = TokenLogprob(1, -0.5)
    for delta in (
        Delta("r", 1, "wor", [4], [entry]),
        Delta("r", 0, "hel", [1], [entry]),
        Delta("r", 0, "lo", [2], [entry], finish_reason="stop", stop="!"),
    ):
        collector.add(delta)
    with pytest.raises(ValueError, match="not ended"):
        collector.result()
    collector.add(Delta("r", 1, "ld", [5], [entry], finish_reason="length", usage=USAGE))
    result = collector.result()
    assert [output.text for output in result.outputs] == ["hello", "world"]
    assert result.outputs[1].token_ids == [4, 5] and result.outputs[1].logprobs == [entry, entry]
    assert (result.finish_reason, result.outputs[0].stop, result.usage) == ("stop", "!", USAGE)


def test_a_loop_is_woken_once_for_many_deltas() -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        woken = 0
        schedule = loop.call_soon_threadsafe

        def count(callback: object, *arguments: object) -> object:
            nonlocal woken
            woken += 1
            return schedule(callback, *arguments)  # type: ignore[arg-type]

        loop.call_soon_threadsafe = count  # type: ignore[method-assign,assignment]
        queues = [asyncio.Queue[Delta]() for _ in range(16)]
        for queue in queues:
            assert bridge_of(loop).put(queue, Delta("r", 0))
        for queue in queues:
            await queue.get()
        return woken

    assert asyncio.run(main()) == 1


def test_a_loop_that_closes_before_it_delivers_is_noticed() -> None:
    loop = asyncio.new_event_loop()
    bridge = LoopBridge(loop)
    queue: asyncio.Queue[Delta] = asyncio.Queue()
    assert bridge.put(queue, Delta("r", 0))
    loop.close()
    assert not bridge.put(queue, Delta("r", 0))
    assert not bridge.put(queue, Delta("r", 0))
