"""The ``openai`` package's responses against the real server with a real model."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from server.conftest import RealServer

pytestmark = pytest.mark.integration

WEATHER: Any = {
    "type": "function", "name": "get_weather", "description": "Current weather in a city", "strict": True,
    "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
        "additionalProperties": False,
    },
}  # fmt: skip
QUESTION = "What is the capital of France?"


@pytest.fixture(scope="module")
def client(server: RealServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="unused", max_retries=0) as opened:
        yield opened


@pytest.fixture(scope="module")
def ask(server: RealServer) -> Any:
    return {"model": server.model, "temperature": 0, "max_output_tokens": 40}


def test_a_conversation(client: openai.OpenAI, ask: Any) -> None:
    first = client.responses.create(input=QUESTION, instructions="Answer in one short sentence.", **ask)
    assert "Paris" in first.output_text and first.status == "completed"
    second = client.responses.create(
        input="Say it again.", previous_response_id=first.id, instructions="Answer in one short sentence.", **ask
    )
    assert second.usage is not None and first.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens
    assert second.usage.input_tokens_details.cached_tokens > 0
    whole: Any = [
        {"role": "user", "content": QUESTION}, *[item.to_dict() for item in first.output],
        {"role": "user", "content": "Say it again."},
    ]  # fmt: skip
    sent = client.responses.create(input=whole, instructions="Answer in one short sentence.", **ask)
    assert sent.output_text == second.output_text


def test_a_stream_says_the_same(client: openai.OpenAI, ask: Any) -> None:
    whole = client.responses.create(input=QUESTION, **{**ask, "max_output_tokens": 200})
    with client.responses.stream(input=QUESTION, **{**ask, "max_output_tokens": 200}) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert len(deltas) > 3 and "".join(deltas) == final.output_text == whole.output_text
    assert final.status == whole.status == "completed"


def test_tools_there_and_back(client: openai.OpenAI, ask: Any) -> None:
    tools: Any = {"tools": [WEATHER], "parallel_tool_calls": False}
    ask = {**ask, "max_output_tokens": 100}
    question = "What is the weather in Paris?"
    first = client.responses.create(input=question, tool_choice="required", **tools, **ask)
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert call.name == "get_weather" and set(json.loads(call.arguments)) == {"city"}
    events = client.responses.create(input=question, tool_choice="required", stream=True, **tools, **ask)
    parts = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert "".join(parts) == call.arguments and len(parts) > 1
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain, 12 C"}
    second = client.responses.create(input=[output], previous_response_id=first.id, tool_choice="none", **tools, **ask)
    assert second.output_text


def test_structured_output(client: openai.OpenAI, ask: Any) -> None:
    class Answer(BaseModel):
        city: Literal["Paris", "Rome"]
        sure: bool

    parsed = client.responses.parse(input=QUESTION, text_format=Answer, **ask).output_parsed
    assert parsed is not None and parsed.city in ("Paris", "Rome")
    free: Any = {"format": {"type": "json_object"}}
    answer = client.responses.create(
        input="Give me a small JSON object.", text=free, **{**ask, "max_output_tokens": 200}
    )
    assert answer.status == "incomplete" or isinstance(json.loads(answer.output_text), dict)


def test_logprobs(client: openai.OpenAI, ask: Any) -> None:
    answer = client.responses.create(
        input=QUESTION, include=["message.output_text.logprobs"], top_logprobs=2, **{**ask, "max_output_tokens": 4}
    )
    (item,) = answer.output
    assert item.type == "message" and item.content[0].type == "output_text"
    logprobs = item.content[0].logprobs
    assert logprobs is not None and len(logprobs) == 4
    assert all(len(entry.top_logprobs) == 2 and entry.logprob <= 0 for entry in logprobs)


def test_the_background(client: openai.OpenAI, ask: Any) -> None:
    made = client.responses.create(input=QUESTION, background=True, **ask)
    assert made.status == "queued"
    end = time.monotonic() + 30
    while made.status in ("queued", "in_progress"):
        assert time.monotonic() < end
        time.sleep(0.05)
        made = client.responses.retrieve(made.id)
    assert made.output_text
    (item,) = client.responses.input_items.list(made.id)
    assert item.type == "message" and item.content[0].to_dict()["text"] == QUESTION
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_the_background_can_be_cancelled(client: openai.OpenAI, ask: Any) -> None:
    story = client.responses.create(
        input="Write a very long story about the sea.", background=True, **{**ask, "max_output_tokens": 4000}
    )
    assert client.responses.cancel(story.id).status == "cancelled"
    assert client.responses.retrieve(story.id).status == "cancelled"


def test_a_stream_from_the_background_can_be_picked_up_again(client: openai.OpenAI, ask: Any) -> None:
    with client.responses.create(input=QUESTION, background=True, stream=True, **ask) as stream:
        first = next(iter(stream))
    assert first.type == "response.created"
    rest = list(client.responses.retrieve(first.response.id, stream=True, starting_after=first.sequence_number))
    assert [event.sequence_number for event in rest] == list(range(1, len(rest) + 1))
    assert rest[-1].type in ("response.completed", "response.incomplete")


def test_counting(client: openai.OpenAI, ask: Any) -> None:
    counted = client.responses.input_tokens.count(model=ask["model"], input=QUESTION)
    usage = client.responses.create(input=QUESTION, **ask).usage
    assert usage is not None and counted.input_tokens == usage.input_tokens


@pytest.mark.parametrize(("fields", "kind", "code", "param"), [
    ({"model": "none"}, openai.NotFoundError, "not_found", None),
    ({"input": "word " * 9000}, openai.BadRequestError, "context_length_exceeded", None),
    ({"tools": [{"type": "web_search"}]}, openai.BadRequestError, "invalid_request", "tools[0].type"),
    ({"previous_response_id": "resp_x"}, openai.BadRequestError, "previous_response_not_found",
     "previous_response_id"),
    ({"extra_body": {"nonsense": 1}}, openai.BadRequestError, "invalid_request", "nonsense"),
])  # fmt: skip
def test_errors(
    client: openai.OpenAI, ask: Any, fields: Any, kind: type[Exception], code: str, param: str | None
) -> None:
    with pytest.raises(kind) as caught:
        client.responses.create(**{"input": "Hi", **ask, **fields})
    error: Any = caught.value
    assert (error.code, error.param) == (code, param)
