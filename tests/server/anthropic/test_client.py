"""The ``anthropic`` package against the real server with a real model."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest

from server.conftest import RealServer

pytestmark = pytest.mark.integration

WEATHER: Any = {
    "name": "get_weather", "description": "Current weather in a city",
    "input_schema": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
        "additionalProperties": False,
    },
}  # fmt: skip
ASK: Any = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY: Any = {"temperature": 0}
"""The package has no such parameter any more; the API has."""


@pytest.fixture(scope="module")
def client(server: RealServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.address, api_key="unused", max_retries=0) as opened:
        yield opened


def test_a_conversation(client: anthropic.Anthropic, server: RealServer) -> None:
    ask: Any = {"model": server.model, "max_tokens": 40, "extra_body": GREEDY}
    message = client.messages.create(messages=ASK, system="Answer in one short sentence.", **ask)
    (block,) = message.content
    assert block.type == "text" and "Paris" in block.text
    assert (message.stop_reason, message.role, message.model) == ("end_turn", "assistant", server.model)
    more: Any = [*ASK, {"role": "assistant", "content": message.content}, {"role": "user", "content": "And of Spain?"}]
    second = client.messages.create(messages=more, system="Answer in one short sentence.", **ask)
    assert second.content[0].type == "text"
    assert (second.usage.cache_read_input_tokens or 0) > 0  # the beginning is shared


def test_a_stream_says_the_same(client: anthropic.Anthropic, server: RealServer) -> None:
    ask: Any = {"model": server.model, "max_tokens": 24, "messages": ASK, "extra_body": GREEDY}
    whole = client.messages.create(**ask)
    with client.messages.stream(**ask) as stream:
        texts = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(texts) > 3
    assert whole.content[0].type == "text" and "".join(texts) == whole.content[0].text
    assert [block.to_dict() for block in final.content] == [block.to_dict() for block in whole.content]
    assert final.stop_reason == whole.stop_reason and final.usage.output_tokens == whole.usage.output_tokens
    used = final.usage
    assert (
        used.input_tokens + (used.cache_read_input_tokens or 0)
        == client.messages.count_tokens(model=server.model, messages=ASK).input_tokens
    )


def test_an_answer_that_was_begun_is_continued(client: anthropic.Anthropic, server: RealServer) -> None:
    begun: Any = [*ASK, {"role": "assistant", "content": "The capital of France is"}]
    message = client.messages.create(model=server.model, max_tokens=8, messages=begun, extra_body=GREEDY)
    assert message.content[0].type == "text" and message.content[0].text.strip().startswith("Paris")


def test_limits_and_stop_texts(client: anthropic.Anthropic, server: RealServer) -> None:
    ask: Any = {"model": server.model, "messages": ASK, "extra_body": GREEDY}
    short = client.messages.create(max_tokens=3, **ask)
    assert short.stop_reason == "max_tokens" and short.usage.output_tokens == 3
    stopped = client.messages.create(max_tokens=40, stop_sequences=["France"], **ask)
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "France")
    assert stopped.content == [] or "France" not in stopped.content[0].to_dict()["text"]


def test_tools_there_and_back(client: anthropic.Anthropic, server: RealServer) -> None:
    question: Any = {"role": "user", "content": "What is the weather in Paris?"}
    choice: Any = {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True}
    ask: Any = {"model": server.model, "max_tokens": 100, "tools": [WEATHER], "extra_body": GREEDY}
    message = client.messages.create(messages=[question], tool_choice=choice, **ask)
    assert message.stop_reason == "tool_use"
    (use,) = [block for block in message.content if block.type == "tool_use"]
    assert use.name == "get_weather" and set(use.input) == {"city"}
    counted = client.messages.count_tokens(model=server.model, messages=[question], tools=[WEATHER], tool_choice=choice)
    assert counted.input_tokens == message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0)
    with client.messages.stream(messages=[question], tool_choice=choice, **ask) as stream:
        partial = [event.partial_json for event in stream if event.type == "input_json"]
        final = stream.get_final_message()
    assert json.loads("".join(partial)) == use.input
    assert final.content[-1].to_dict()["input"] == use.input
    result: Any = {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "Rain, 12 C"}]}
    turns: Any = [question, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    answer = client.messages.create(messages=turns, tool_choice={"type": "none"}, **ask)
    assert answer.stop_reason in ("end_turn", "max_tokens") and answer.content[0].type == "text"


def test_structured_output(client: anthropic.Anthropic, server: RealServer) -> None:
    schema = {
        "type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"],
        "additionalProperties": False,
    }  # fmt: skip
    format: Any = {"format": {"type": "json_schema", "schema": schema}}
    message = client.messages.create(model=server.model, max_tokens=40, messages=ASK, output_config=format)
    assert message.content[0].type == "text"
    assert json.loads(message.content[0].text)["city"] in ("Paris", "Rome")


def test_models(client: anthropic.Anthropic, server: RealServer) -> None:
    assert server.model in [model.id for model in client.models.list(limit=1)]
    assert client.models.retrieve(server.model).max_input_tokens == 8192


@pytest.mark.parametrize(("fields", "kind", "words"), [
    ({"model": "none"}, anthropic.NotFoundError, "there is no model"),
    ({"messages": [{"role": "user", "content": "word " * 9000}]}, anthropic.BadRequestError,
     "prompt is too long: .*context length is 8192"),
    ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, anthropic.BadRequestError,
     "image"),
    ({"extra_body": {"nonsense": 1}}, anthropic.BadRequestError, "nonsense: unknown field"),
    ({"thinking": {"type": "enabled", "budget_tokens": 2}}, anthropic.BadRequestError, "does not think"),
])  # fmt: skip
def test_errors(
    client: anthropic.Anthropic, server: RealServer, fields: dict[str, Any], kind: type[Exception], words: str
) -> None:
    ask: Any = {"model": server.model, "max_tokens": 5, "messages": ASK, **fields}
    with pytest.raises(kind, match=words) as caught:
        client.messages.create(**ask)
    error: Any = caught.value
    assert error.body["type"] == "error" and error.request_id == error.body["request_id"]


def test_leaving_in_the_middle_frees_the_place(client: anthropic.Anthropic, server: RealServer) -> None:
    story: Any = [{"role": "user", "content": "Write a very long story about the sea."}]
    with client.messages.stream(model=server.model, max_tokens=2000, messages=story) as stream:
        next(iter(stream.text_stream))

    def running() -> bool:
        metrics = httpx.get(f"{server.address}/metrics").text
        return any(
            line.startswith("llmasos_requests_running") and not line.endswith(" 0.0") for line in metrics.splitlines()
        )

    end = time.monotonic() + 10
    while running():
        assert time.monotonic() < end, "the request still runs"
        time.sleep(0.02)


def test_many_at_the_same_time(server: RealServer) -> None:
    async def ask() -> list[anthropic.types.Message]:
        async with anthropic.AsyncAnthropic(base_url=server.address, api_key="unused") as client:
            asked = [
                client.messages.create(model=server.model, max_tokens=12, messages=ASK, extra_body=GREEDY)
                for _ in range(8)
            ]
            return await asyncio.gather(*asked)

    texts = [message.content[0].to_dict()["text"] for message in asyncio.run(ask())]
    assert len(texts) == 8 and len(set(texts)) == 1
