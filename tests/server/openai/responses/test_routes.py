"""Responses over HTTP: whole answers, events, what is kept, the background; the model says what the test tells it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from llmasos.errors import ContextLengthExceeded, DeadlineExceeded, TooManyRequests
from llmasos.server.keys import KeyStore
from llmasos.server.serving.job import Piece, TokenInfo
from server.scripted import USAGE, Scripted, called, events, said, scripted

ASK: dict[str, Any] = {"model": "m", "input": "Hi"}
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def post(script: Scripted, **fields: Any) -> Any:
    return script.client.post("/v1/responses", json={**ASK, **fields})


def ask(script: Scripted, **fields: Any) -> dict[str, Any]:
    answer = post(script, **fields)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    Response.model_validate(body)  # the client's own types
    return body


def stream(script: Scripted, **fields: Any) -> list[dict[str, Any]]:
    answer = post(script, stream=True, **fields)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
    return checked(events(answer.text))


def checked(found: list[tuple[str, Any]], first: int = 0) -> list[dict[str, Any]]:
    for number, (name, data) in enumerate(found):
        assert name == data["type"] and data["sequence_number"] == first + number
        if name != "response.cancelled":
            EVENT.validate_python(data)
    return [data for _, data in found]


def settled(script: Scripted, id: str) -> dict[str, Any]:
    """A response in the background, once it has ended."""
    for _ in range(500):
        body: dict[str, Any] = script.client.get(f"/v1/responses/{id}").json()
        if body["status"] not in ("queued", "in_progress"):
            return body
        time.sleep(0.01)
    raise AssertionError("it did not end")


def comparable(response: dict[str, Any]) -> Any:
    """Without ids and times."""
    if isinstance(response, dict):
        gone = ("id", "item_id", "created_at", "completed_at")
        return {key: comparable(value) for key, value in response.items() if key not in gone}
    return [comparable(item) for item in response] if isinstance(response, list) else response


def thought() -> list[Any]:
    return [Piece(0, reasoning="hm", token_ids=[1, 2]), Piece(0, reasoning=" so", token_ids=[3]), *said("Yes", ".")]


def test_an_answer(script: Scripted) -> None:
    script.script(said("Hel", "lo"))
    answer = ask(script, metadata={"a": "b"}, temperature=0.5, instructions="Be brief.", user="u")
    (item,) = answer["output"]
    assert item["content"] == [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}]
    assert (answer["status"], item["status"], item["role"]) == ("completed", "completed", "assistant")
    assert (answer["metadata"], answer["temperature"], answer["store"]) == ({"a": "b"}, 0.5, True)
    assert answer["usage"] == {
        "input_tokens": 12, "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 0}, "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 17,
    }  # fmt: skip
    assert script.job.messages == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert script.service.generations[0].closed


def test_the_order_of_events(script: Scripted) -> None:
    script.script(thought())
    assert [item["type"].removeprefix("response.") for item in stream(script)] == [
        "created", "in_progress",
        "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.delta",
        "reasoning_text.done", "content_part.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip


@pytest.mark.parametrize("answer", [
    said("Hel", "lo"), said("Hel", reason="length"), thought(), said(),
    called(("a", "weather", '{"city": "Paris"}'), ("b", "time", "{}"), text="Let me see. "),
])  # fmt: skip
def test_the_events_make_the_whole_answer(script: Scripted, answer: list[Any]) -> None:
    script.script(list(answer), list(answer))
    whole = ask(script, tools=[TOOL])
    found = stream(script, tools=[TOOL])
    last = found[-1]["response"]
    assert comparable(last) == comparable(whole)
    assert [item["item"] for item in found if item["type"] == "response.output_item.done"] == last["output"]
    for index, item in enumerate(last["output"]):
        deltas = "".join(e["delta"] for e in found if e["type"].endswith(".delta") and e["output_index"] == index)
        assert deltas == (item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"])


def test_events_keep_what_was_true_when_they_were_sent(script: Scripted) -> None:
    script.script(said("Hel", "lo"))
    found = stream(script)
    assert found[0]["response"]["output"] == [] and found[0]["response"]["usage"] is None
    assert next(e for e in found if e["type"] == "response.output_item.added")["item"]["content"] == []


def test_an_answer_that_was_cut_off_is_incomplete(script: Scripted) -> None:
    script.script(said("Hel", reason="length"))
    answer = ask(script)
    assert answer["status"] == answer["output"][0]["status"] == "incomplete"
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"} and answer["completed_at"] is None


def test_calls_and_thinking_are_items(script: Scripted) -> None:
    script.script(called(("a", "weather", '{"city": "Paris"}')), thought())
    (call,) = ask(script, tools=[TOOL])["output"]
    assert (call["type"], call["call_id"], call["name"]) == ("function_call", "a", "weather")
    assert call["arguments"] == '{"city": "Paris"}' and call["id"].startswith("fc_")
    answer = ask(script)
    assert [item["type"] for item in answer["output"]] == ["reasoning", "message"]
    assert answer["output"][0]["content"] == [{"type": "reasoning_text", "text": "hm so"}]
    assert answer["usage"]["output_tokens_details"] == {"reasoning_tokens": 3}


def token(text: str) -> list[TokenInfo]:
    return [TokenInfo(1, text, text.encode(), -0.5, [TokenInfo(1, text, text.encode(), -0.5)])]


def test_no_logprob_is_lost_while_a_text_is_held_back(script: Scripted) -> None:
    pieces = [
        Piece(0, "a", logprobs=token("a")), Piece(0, "", logprobs=token("b")), Piece(0, "bc", logprobs=token("c")),
        Piece(0, "", logprobs=token("</s>"), finish_reason="stop", usage=USAGE),
    ]  # fmt: skip
    include = ["message.output_text.logprobs"]
    script.script(list(pieces), list(pieces))
    (part,) = ask(script, include=include, top_logprobs=1)["output"][0]["content"]
    assert [item["token"] for item in part["logprobs"]] == ["a", "b", "c", "</s>"]
    assert part["logprobs"][0]["top_logprobs"] == [{"token": "a", "bytes": [97], "logprob": -0.5}]
    found = stream(script, include=include, top_logprobs=1)
    deltas = [[item["token"] for item in e["logprobs"]] for e in found if e["type"].endswith("text.delta")]
    assert deltas == [["a"], ["b", "c"]]


# --- what is kept --------------------------------------------------------------------------------------------------


def test_a_response_is_kept_and_continued(script: Scripted) -> None:
    script.script(called(("a", "weather", '{"city": "Paris"}')), said("Rain."), said("Yes."))
    first = ask(script, tools=[TOOL], instructions="Be brief.")
    output = {"type": "function_call_output", "call_id": "a", "output": "rain"}
    second = ask(script, input=[output], previous_response_id=first["id"], tools=[TOOL])
    assert script.job.messages == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "", "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "weather", "arguments": {"city": "Paris"}}}]},
        {"role": "tool", "tool_call_id": "a", "name": "weather", "content": "rain"},
    ]  # fmt: skip
    assert second["previous_response_id"] == first["id"]
    deleted = script.client.delete(f"/v1/responses/{first['id']}")
    assert deleted.json() == {"id": first["id"], "object": "response", "deleted": True}
    assert script.client.get(f"/v1/responses/{first['id']}").status_code == 404
    ask(script, input="Sure?", previous_response_id=second["id"])  # still whole
    assert script.job.messages is not None and len(script.job.messages) == 5
    assert script.client.get(f"/v1/responses/{second['id']}").json() == second


def test_streams_are_kept_once_they_have_ended(script: Scripted) -> None:
    script.script(said("Hello"), [Piece(0, "Hel"), DeadlineExceeded("too slow")])
    last = stream(script)[-1]["response"]
    assert script.client.get(f"/v1/responses/{last['id']}").json() == last
    failed = stream(script)
    assert [item["type"] for item in failed[-2:]] == ["error", "response.failed"]
    assert failed[-1]["response"]["error"] == {"code": "server_error", "message": "too slow"}
    assert failed[-1]["response"]["output"][0]["status"] == "incomplete"
    assert script.client.get(f"/v1/responses/{failed[-1]['response']['id']}").status_code == 404


def test_what_must_not_be_kept_is_not(script: Scripted, tmp_path: Path) -> None:
    script.script(said("Hello"))
    answer = ask(script, store=False)
    assert answer["store"] is False and script.client.get(f"/v1/responses/{answer['id']}").status_code == 404
    assert post(script, store=False, background=True).json()["error"]["param"] == "background"
    with scripted(tmp_path / "none", responses_kept=0) as none:
        none.script(said("Hello"))
        assert ask(none)["store"] is False
        assert post(none, store=True).json()["error"]["param"] == "store"


def test_keys_do_not_see_each_others_responses(script: Scripted) -> None:
    keys = KeyStore(script.service.library.catalogue.database)
    mine, theirs = ({"authorization": f"Bearer {keys.create(name)[1]}"} for name in ("mine", "theirs"))
    script.script(said("Hello"), said("Again"))
    id = script.client.post("/v1/responses", json=ASK, headers=mine).json()["id"]
    for method, path in [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")]:
        assert script.client.request(method, f"/v1/responses/{id}{path}", headers=theirs).status_code == 404
    again = {**ASK, "previous_response_id": id}
    refused = script.client.post("/v1/responses", json=again, headers=theirs)
    assert refused.status_code == 400 and refused.json()["error"]["code"] == "previous_response_not_found"
    assert script.client.post("/v1/responses", json=again, headers=mine).status_code == 200
    assert script.client.get(f"/v1/responses/{id}", headers=mine).status_code == 200


def test_input_items(script: Scripted) -> None:
    script.script(said("Hello"))
    texts = ["a", "b", "c"]
    id = ask(script, input=[{"role": "user", "content": text} for text in texts])["id"]

    def page(**query: Any) -> Any:
        return script.client.get(f"/v1/responses/{id}/input_items", params=query).json()

    def said_in(body: Any) -> list[str]:
        return [item["content"][0]["text"] for item in body["data"]]

    assert said_in(page()) == ["c", "b", "a"] and said_in(page(order="asc")) == texts
    first = page(order="asc", limit=2)
    assert said_in(first) == ["a", "b"] and first["has_more"]
    rest = page(order="asc", after=first["last_id"])
    assert said_in(rest) == ["c"] and not rest["has_more"] and rest["first_id"] == rest["last_id"]
    assert "no item" in page(after="x")["error"]["message"]
    assert page(limit=0)["error"]["type"] == page(ordr="asc")["error"]["type"] == "invalid_request_error"


# --- the background ------------------------------------------------------------------------------------------------


def test_the_background(script: Scripted) -> None:
    script.script(said("Hello"))
    answer = ask(script, background=True)
    assert answer["status"] == "queued" and answer["background"] and answer["output"] == []
    body = settled(script, answer["id"])
    assert body["status"] == "completed" and body["output"][0]["content"][0]["text"] == "Hello"
    assert script.service.generations[0].closed
    script.script(said("Again"))
    ask(script, previous_response_id=answer["id"])
    assert script.job.messages is not None and script.job.messages[1]["content"] == "Hello"


def test_cancelling_in_the_background(script: Scripted) -> None:
    script.script([Piece(0, "Hel", token_ids=[1]), None], said("x"), [None])
    id = ask(script, background=True)["id"]
    unfinished = post(script, previous_response_id=id)
    assert unfinished.status_code == 400 and "still being made" in unfinished.json()["error"]["message"]
    while not script.client.get(f"/v1/responses/{id}").json()["output"]:
        time.sleep(0.005)
    for _ in range(2):  # again is the same
        body = script.client.post(f"/v1/responses/{id}/cancel").json()
        assert body["status"] == "cancelled" and body["output"][0]["content"][0]["text"] == "Hel"
    assert script.service.generations[0].closed
    foreground = ask(script)["id"]
    refused = script.client.post(f"/v1/responses/{foreground}/cancel")
    assert refused.status_code == 400 and "background" in refused.json()["error"]["message"]
    other = ask(script, background=True)["id"]
    assert script.client.delete(f"/v1/responses/{other}").status_code == 200
    assert script.service.generations[-1].closed


def test_an_error_in_the_background(script: Scripted) -> None:
    script.script([DeadlineExceeded("too slow")])
    body = settled(script, ask(script, background=True)["id"])
    assert body["status"] == "failed" and body["error"] == {"code": "server_error", "message": "too slow"}


def test_following_from_any_event_on(script: Scripted) -> None:
    script.script(said("Hel", "lo"))
    found = stream(script, background=True)
    names = [item["type"].removeprefix("response.") for item in found]
    assert names[:3] == ["created", "queued", "in_progress"] and names[-1] == "completed"
    path = f"/v1/responses/{found[0]['response']['id']}"
    for after in (-1, 3, len(found) - 1):
        answer = script.client.get(path, params={"stream": "true", "starting_after": after})
        assert checked(events(answer.text), after + 1) == found[after + 1 :]
    assert script.client.get(path, params={"starting_after": 3}).json()["error"]["param"] == "starting_after"


def test_only_streams_in_the_background_can_be_followed(script: Scripted) -> None:
    script.script(said("Hello"))
    id = ask(script)["id"]
    answer = script.client.get(f"/v1/responses/{id}?stream=true")
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "stream"
    include = script.client.get(f"/v1/responses/{id}?include[]=message.output_text.logprobs")
    assert include.status_code == 200
    for query in ("include=x", "nonsense=1", "include_obfuscation=true"):
        assert script.client.get(f"/v1/responses/{id}?{query}").status_code == 400


def test_stopping_the_server_ends_the_background(tmp_path: Path) -> None:
    with scripted(tmp_path) as server:
        server.script([None])
        ask(server, background=True)
    assert server.service.generations[0].closed


# --- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "status"), [
    (ContextLengthExceeded("too long"), 400), (TooManyRequests("full", retry_after=3), 429),
])  # fmt: skip
def test_errors(script: Scripted, error: Any, status: int) -> None:
    for fields in ({}, {"stream": True}, {"background": True}):
        script.script(error)
        answer = post(script, **fields)
        assert answer.status_code == status and answer.json()["error"]["code"] == error.code
    assert not script.client.app.state.responses._records  # type: ignore[attr-defined]


def test_an_error_on_the_way_of_a_whole_answer_is_its_status(script: Scripted) -> None:
    script.script([Piece(0, "Hel"), DeadlineExceeded("too slow")])
    assert post(script).status_code == 504
    assert script.service.generations[0].closed
