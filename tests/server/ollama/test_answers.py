"""The shapes of answers: lines, their ends, tool calls, thinking, log-probabilities, errors on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from llmasos.errors import DeadlineExceeded, TooManyRequests
from llmasos.server.ollama.answers import CallCollector
from llmasos.server.serving.job import Piece, TokenInfo, ToolCallPiece

HELLO = [{"role": "user", "content": "Hello"}]
SECOND = 10**9


def lines(answer: Any) -> list[dict[str, Any]]:
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_chat_comes_in_lines_unless_told_otherwise(desk: Callable[..., Any]) -> None:
    at = desk()
    pieces = [Piece(0, "Hel", token_ids=[8]), Piece(0, "lo", token_ids=[9]), Piece(0, finish_reason="stop")]
    found = lines(at.post("/api/chat", pieces, messages=HELLO))
    assert [line["message"]["content"] for line in found] == ["Hel", "lo", ""]
    assert [line["done"] for line in found] == [False, False, True]
    assert all(line["model"] == "m" and line["created_at"].endswith("Z") for line in found)
    end = found[-1]
    assert end["done_reason"] == "stop"
    assert (end["prompt_eval_count"], end["eval_count"]) == (7, 3)
    assert end["prompt_eval_duration"] == 0.75 * SECOND
    assert end["eval_duration"] == 2 * SECOND
    assert end["load_duration"] == 0.5 * SECOND
    assert isinstance(end["total_duration"], int) and end["total_duration"] > 0
    assert at.service.generation.closed


def test_the_whole_is_the_sum_of_the_lines(desk: Callable[..., Any]) -> None:
    pieces = [Piece(0, "Hel"), Piece(0, "lo", finish_reason="length")]
    answer = desk().post("/api/chat", pieces, messages=HELLO, stream=False).json()
    assert answer["message"] == {"role": "assistant", "content": "Hello"}
    assert (answer["done"], answer["done_reason"]) == (True, "length")


def test_generate_gives_the_tokens_for_the_next_turn(desk: Callable[..., Any]) -> None:
    pieces = [Piece(0, "Hel", token_ids=[8]), Piece(0, "lo", token_ids=[9])]
    at = desk()
    answer = at.post("/api/generate", pieces, prompt="x", stream=False).json()
    assert answer["response"] == "Hello"
    assert answer["context"] == [1, 2, 3, 8, 9]
    raw = at.post("/api/generate", [Piece(0, "Hello", token_ids=[8])], prompt="x", stream=False, raw=True).json()
    assert "context" not in raw
    streamed = lines(at.post("/api/generate", [Piece(0, "a", token_ids=[8]), Piece(0, "b")], prompt="x"))
    assert [line["response"] for line in streamed] == ["a", "b", ""]
    assert "context" not in streamed[0] and streamed[-1]["context"] == [1, 2, 3, 8]


def test_thinking_stands_apart(desk: Callable[..., Any]) -> None:
    at = desk()
    pieces = [Piece(0, reasoning="Hm"), Piece(0, "So")]
    found = lines(at.post("/api/chat", pieces, messages=HELLO, think=True))
    assert found[0]["message"] == {"role": "assistant", "content": "", "thinking": "Hm"}
    assert at.service.job.thinking is True
    answer = at.post("/api/generate", [Piece(0, reasoning="Hm"), Piece(0, "So")], prompt="x", stream=False).json()
    assert (answer["thinking"], answer["response"]) == ("Hm", "So")


def test_tool_calls_come_whole_with_objects_as_arguments(desk: Callable[..., Any]) -> None:
    pieces = [
        Piece(0, tool_calls=[ToolCallPiece(0, "id1", "add", '{"a": ')]),
        Piece(0, tool_calls=[ToolCallPiece(0, arguments="1}"), ToolCallPiece(1, "id2", "now")]),
        Piece(0, tool_calls=[ToolCallPiece(1, arguments="{}")], finish_reason="tool_calls"),
    ]
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    at = desk()
    found = lines(at.post("/api/chat", pieces, messages=HELLO, tools=[tool]))
    calls = [call for line in found for call in line["message"].get("tool_calls", ())]
    assert calls == [
        {"id": "id1", "function": {"index": 0, "name": "add", "arguments": {"a": 1}}},
        {"id": "id2", "function": {"index": 1, "name": "now", "arguments": {}}},
    ]
    assert found[-1]["done_reason"] == "stop"
    assert at.service.job.tools == [tool]


def test_a_call_that_is_cut_off_comes_as_text() -> None:
    collector = CallCollector()
    assert collector.push([ToolCallPiece(0, "id", "add", '{"a": 1')]) == ([], "")
    assert collector.finish() == ([], '{"name": "add", "arguments": {"a": 1')
    assert collector.finish() == ([], "")


def test_logprobs(desk: Callable[..., Any]) -> None:
    token = TokenInfo(5, "a", b"a", -0.5, [TokenInfo(5, "a", b"a", -0.5), TokenInfo(6, "é", None, float("-inf"))])
    at = desk()
    answer = at.post(
        "/api/generate", [Piece(0, "a", logprobs=[token])], prompt="x", stream=False, logprobs=True, top_logprobs=2
    ).json()
    assert answer["logprobs"] == [
        {"token": "a", "logprob": -0.5, "bytes": [97],
         "top_logprobs": [{"token": "a", "logprob": -0.5, "bytes": [97]},
                          {"token": "é", "logprob": -9999.0, "bytes": [195, 169]}]}
    ]  # fmt: skip


def test_an_error_on_the_way_is_the_last_line(desk: Callable[..., Any]) -> None:
    error = DeadlineExceeded("too late", hint="Ask for less.")
    at = desk()
    found = lines(at.post("/api/chat", [Piece(0, "Hel")], error=error, messages=HELLO))
    assert found[0]["message"]["content"] == "Hel"
    assert found[1] == {"error": "too late. Ask for less."}
    assert len(found) == 2
    whole = at.post("/api/chat", [Piece(0, "Hel")], error=error, messages=HELLO, stream=False)
    assert (whole.status_code, whole.json()) == (504, {"error": "too late. Ask for less."})


def test_a_full_queue_says_when_to_come_again(desk: Callable[..., Any]) -> None:
    error = TooManyRequests("full", retry_after=3.2)
    answer = desk().post("/api/chat", [Piece(0, "x")], error=error, messages=HELLO, stream=False)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "4")


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/embed", "/api/show", "/api/create", "/api/pull"])
def test_errors_have_the_shape_of_this_api(desk: Callable[..., Any], path: str) -> None:
    client = desk().client
    for body in (b"", b"[]", b"{", b'{"model": 1}', b'{"model": "m", "nonsense": 1}', b"\xff"):
        answer = client.post(path, content=body)
        assert answer.status_code == 400
        assert set(answer.json()) == {"error"} and isinstance(answer.json()["error"], str)


def test_a_body_needs_no_content_type(desk: Callable[..., Any]) -> None:
    at = desk()
    at.service.script(Piece(0, "Hello"))
    answer = at.client.post(
        "/api/chat", content=json.dumps({"model": "m", "messages": HELLO, "stream": False}),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )  # fmt: skip
    assert answer.json()["message"]["content"] == "Hello"


def test_a_lenient_server_warns_in_a_header(desk: Callable[..., Any]) -> None:
    answer = desk(lenient=True).post("/api/chat", messages=HELLO, options={"num_gpu": 1}, stream=False)
    assert answer.status_code == 200
    assert answer.headers["x-llmasos-warning"] == "ignored: options.num_gpu"
