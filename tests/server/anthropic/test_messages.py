"""Messages over HTTP: whole answers, events, errors; the model says what the test tells it to."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from llmasos.errors import ContextLengthExceeded, DeadlineExceeded, NotFound, TooManyRequests
from llmasos.server.anthropic import messages as route
from llmasos.server.serving.job import Piece
from server.running import Running
from server.scripted import USAGE, Scripted, called, events, said

ASK: dict[str, Any] = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]}


def ask(script: Scripted, **fields: Any) -> Any:
    answer = script.client.post("/v1/messages", json={**ASK, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def stream(script: Scripted, **fields: Any) -> list[tuple[str, Any]]:
    answer = script.client.post("/v1/messages", json={**ASK, "stream": True, **fields})
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
    found = events(answer.text)
    assert all(name == data["type"] for name, data in found)
    return found


def assembled(found: list[tuple[str, Any]]) -> dict[str, Any]:
    """The message that a client makes of the events."""
    message: dict[str, Any] = {}
    written: list[str] = []
    for name, data in found:
        match name:
            case "message_start":
                message = data["message"]
            case "content_block_start":
                assert data["index"] == len(message["content"])
                message["content"].append(dict(data["content_block"]))
                written = []
            case "content_block_delta":
                assert data["index"] == len(message["content"]) - 1
                delta = data["delta"]
                written.append(delta.get("text") or delta.get("thinking") or delta.get("partial_json") or "")
            case "content_block_stop":
                block = message["content"][data["index"]]
                joined = "".join(written)
                if block["type"] == "tool_use":
                    block["input"] = json.loads(joined or "{}")
                else:
                    block[block["type"]] = joined
            case "message_delta":
                message |= data["delta"]
                message["usage"] = data["usage"]
    return message


def test_an_answer(script: Scripted) -> None:
    script.script(said("Hel", "lo"))
    answer = ask(script)
    assert answer["content"] == [{"type": "text", "text": "Hello"}]
    assert answer["id"].startswith("msg_")
    assert (answer["type"], answer["role"], answer["model"]) == ("message", "assistant", "m")
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("end_turn", None)
    assert answer["usage"] == {
        "input_tokens": 4, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 8, "output_tokens": 5,
        "output_tokens_details": {"thinking_tokens": 0},
    }  # fmt: skip
    assert script.service.generations[0].closed


def test_the_order_of_events(script: Scripted) -> None:
    script.script(said("Hel", "lo"))
    assert [name for name, _ in stream(script)] == [
        "message_start", "ping", "content_block_start", "content_block_delta", "content_block_delta",
        "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip


def thought() -> list[Any]:
    return [
        Piece(0, reasoning="hm", token_ids=[1, 2]), Piece(0, token_ids=[3]), Piece(0, reasoning=" so", token_ids=[4]),
        Piece(0, token_ids=[5]), *said("Yes", ".")
    ]  # fmt: skip


@pytest.mark.parametrize("answer", [
    said("Hel", "lo"), said(reason="length"), thought(),
    called(("a", "weather", '{"city": "Paris"}'), ("b", "time", "{}"), text="Let me see. "),
])  # fmt: skip
def test_the_events_make_the_whole_answer(script: Scripted, answer: list[Any]) -> None:
    script.script(list(answer), list(answer))
    whole = ask(script)
    made = assembled(stream(script))
    assert {**made, "id": ""} == {**whole, "id": ""}


def test_thinking_is_a_block_of_its_own(script: Scripted) -> None:
    script.script(thought(), thought())
    answer = ask(script)
    assert answer["content"] == [
        {"type": "thinking", "thinking": "hm so", "signature": ""}, {"type": "text", "text": "Yes."},
    ]  # fmt: skip
    assert answer["usage"]["output_tokens_details"] == {"thinking_tokens": 4}
    hidden = ask(script, thinking={"type": "adaptive", "display": "omitted"})
    assert hidden["content"][0]["thinking"] == "" and hidden["usage"] == answer["usage"]


def test_calls_of_tools(script: Scripted) -> None:
    script.script(called(("a", "weather", '{"city": "Paris"}'), ("b", "time", "{}"), text="Let me see. "))
    answer = ask(script)
    assert answer["stop_reason"] == "tool_use"
    assert answer["content"] == [
        {"type": "text", "text": "Let me see. "},
        {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": "Paris"}},
        {"type": "tool_use", "id": "b", "name": "time", "input": {}},
    ]


@pytest.mark.parametrize(("written", "expected"), [
    ('{"city": "Par', {"city": "Par"}), ('{"city": "Paris", "day', {"city": "Paris"}), ("{", {}), ("", {}),
])  # fmt: skip
def test_of_a_call_that_was_cut_off_stays_what_there_is(
    script: Scripted, written: str, expected: dict[str, str]
) -> None:
    script.script([*called(("a", "weather", written))[:-1], Piece(0, finish_reason="length", usage=USAGE)])
    answer = ask(script, max_tokens=5)
    assert answer["stop_reason"] == "max_tokens" and answer["content"][0]["input"] == expected


@pytest.mark.parametrize(("steps", "reason", "sequence"), [
    (said("x", stop="END"), "stop_sequence", "END"),
    (said("x", stop="</s>"), "end_turn", None),
    (said("x", reason="length", usage=replace(USAGE, completion_tokens=10)), "max_tokens", None),
    (said("x", reason="length"), "model_context_window_exceeded", None),
])  # fmt: skip
def test_why_an_answer_ended(script: Scripted, steps: Any, reason: str, sequence: str | None) -> None:
    script.script(steps)
    answer = ask(script, stop_sequences=["END"])
    assert (answer["stop_reason"], answer["stop_sequence"]) == (reason, sequence)


def test_tokens_that_were_cut_off_are_told(script: Scripted) -> None:
    script.script(said("x", usage=replace(USAGE, truncated_tokens=7)))
    assert ask(script, truncate="left")["usage"]["truncated_tokens"] == 7


@pytest.mark.parametrize(("error", "status", "kind"), [
    (ContextLengthExceeded("too long"), 400, "invalid_request_error"),
    (NotFound("no model"), 404, "not_found_error"),
    (TooManyRequests("full", retry_after=3), 429, "rate_limit_error"),
])  # fmt: skip
def test_errors_have_anthropics_form(script: Scripted, error: Any, status: int, kind: str) -> None:
    script.script(error)
    answer = script.client.post("/v1/messages", json=ASK)
    assert answer.status_code == status
    body = answer.json()
    assert body["type"] == "error" and body["request_id"] == answer.headers["request-id"]
    prefix = "prompt is too long: " if isinstance(error, ContextLengthExceeded) else ""  # what clients look for
    assert body["error"] == {"type": kind, "message": prefix + error.message}
    assert (answer.headers.get("retry-after") == "3") == (status == 429)


def test_an_error_on_the_way_is_an_event(script: Scripted) -> None:
    script.script([Piece(0, "Hel", token_ids=[1]), DeadlineExceeded("too slow")])
    found = stream(script)
    assert found[-1][0] == "error" and found[-1][1]["error"]["type"] == "timeout_error"
    assert found[-2][0] == "content_block_delta"
    assert script.service.generations[0].closed


def test_silence_is_filled_with_pings(script: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route, "PING_SECONDS", 0.001)
    script.script([0.05, *said("x")])
    names = [name for name, _ in stream(script)]
    assert names.count("ping") > 1 and names[-1] == "message_stop"


def test_the_user_and_the_headers_are_no_matter(script: Scripted) -> None:
    script.script(said("x"))
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "something-2026", "x-api-key": "unused"}
    answer = script.client.post("/v1/messages?beta=true", json={**ASK, "metadata": {"user_id": "u"}}, headers=headers)
    assert answer.status_code == 200


def test_a_model_answers_and_counts(tiny: Running) -> None:
    ask = {**ASK, "model": "llama", "temperature": 0}
    with tiny.client() as client:
        whole = client.post("/v1/messages", json=ask).json()
        made = assembled(events(client.post("/v1/messages", json={**ask, "stream": True}).text))
        counted = client.post("/v1/messages/count_tokens", json={"model": "llama", "messages": ASK["messages"]}).json()
        refused = client.post("/v1/messages/count_tokens", json={**ask})
        choice = {"type": "any"}
        toolless = client.post("/v1/messages", json={**ask, "tool_choice": choice})
    usage = whole["usage"]
    assert made["content"] == whole["content"] and made["stop_reason"] == whole["stop_reason"]
    assert counted == {"input_tokens": usage["input_tokens"] + usage["cache_read_input_tokens"]}
    assert refused.status_code == 400 and "max_tokens" in refused.json()["error"]["message"]
    assert toolless.status_code == 400 and "needs tools" in toolless.json()["error"]["message"]


def test_counting_sees_all_that_the_template_writes(tiny: Running) -> None:
    def count(**fields: Any) -> int:
        with tiny.client() as client:
            answer = client.post("/v1/messages/count_tokens", json={"model": "llama", "messages": ASK["messages"],
                                                                    **fields})  # fmt: skip
        assert answer.status_code == 200, answer.text
        return int(answer.json()["input_tokens"])

    plain = count()
    assert count(system="Be brief.") > plain
    assert count(messages=[*ASK["messages"], {"role": "assistant", "content": "I am"}]) > plain
    assert count(thinking={"type": "enabled", "budget_tokens": 5}) > plain  # the template opens the thinking


def test_a_client_that_leaves_frees_its_place(tiny: Running) -> None:
    ask = {**ASK, "model": "llama", "stream": True, "max_tokens": 400, "temperature": 1}
    (loaded,) = tiny.service.loaded()
    with tiny.client() as client, client.stream("POST", "/v1/messages", json=ask) as answer:
        next(answer.iter_lines())
    tiny.wait_until(lambda: loaded.local.outputs == 0)
