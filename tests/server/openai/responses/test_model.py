"""Responses of a tiny random model: formats, counting, conversations that are too long."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.running import Running


@pytest.fixture
def post(tiny: Running) -> Any:
    """``post("/v1/responses", input="Hi")``"""

    def send(path: str, **fields: Any) -> Any:
        with tiny.client() as client:
            return client.post(path, json={"model": "llama", "input": "Hi", **fields})

    return send


def test_outputs_follow_their_schema(post: Any) -> None:
    format = {"type": "json_schema", "name": "x", "schema": {"enum": ["red", "blue"]}, "strict": True}
    answer = post("/v1/responses", text={"format": format}, max_output_tokens=40, temperature=1.5).json()
    assert json.loads(answer["output"][0]["content"][0]["text"]) in ("red", "blue")
    assert answer["text"] == {"format": format}


def test_counting(post: Any) -> None:
    plain = post("/v1/responses/input_tokens").json()
    answer = post("/v1/responses", max_output_tokens=4).json()
    assert plain == {"object": "response.input_tokens", "input_tokens": answer["usage"]["input_tokens"]}
    assert post("/v1/responses/input_tokens", instructions="Be brief.").json()["input_tokens"] > plain["input_tokens"]
    longer = post("/v1/responses/input_tokens", previous_response_id=answer["id"]).json()["input_tokens"]
    assert longer > plain["input_tokens"]
    assert post("/v1/responses/input_tokens", max_output_tokens=4).json()["error"]["param"] == "max_output_tokens"


def test_too_long_a_conversation_is_refused_or_shortened_and_said(post: Any, tiny: Running) -> None:
    limit = tiny.service.loaded()[0].local.model.context_length
    assert limit is not None
    turn = [{"role": "user", "content": "one two " * (limit // 12)}, {"role": "assistant", "content": "ok"}]
    system = {"role": "system", "content": "Be brief."}
    items = [system, *turn * 6, {"role": "user", "content": "Hello"}]
    refused = post("/v1/responses", input=items, max_output_tokens=4)
    assert refused.status_code == 400 and refused.json()["error"]["code"] == "context_length_exceeded"

    answer = post("/v1/responses", input=items, max_output_tokens=4, truncation="auto")
    body = answer.json()
    assert answer.status_code == 200, body
    dropped = body["dropped_messages"]
    assert dropped > 0 and dropped % 2 == 0
    assert answer.headers["x-llmasos-warning"] == f"truncated: the oldest {dropped} messages"
    kept = post("/v1/responses/input_tokens", input=[system, *items[1 + dropped :]]).json()["input_tokens"]
    assert body["usage"]["input_tokens"] == kept <= limit - 4
    one_more = post("/v1/responses/input_tokens", input=[system, *items[dropped - 1 :]]).json()["input_tokens"]
    assert one_more > limit - 4  # no turn was left out without need

    fits = post("/v1/responses", input=items[-3:], max_output_tokens=4, truncation="auto")
    assert fits.json()["dropped_messages"] == 0 and "x-llmasos-warning" not in fits.headers
    alone = post("/v1/responses", input="one two " * limit, max_output_tokens=4, truncation="auto")
    assert alone.status_code == 400 and alone.json()["error"]["code"] == "context_length_exceeded"


def test_a_client_that_leaves_frees_its_place(tiny: Running) -> None:
    (loaded,) = tiny.service.loaded()
    ask = {"model": "llama", "input": "Hi", "stream": True, "temperature": 1}
    with tiny.client() as client, client.stream("POST", "/v1/responses", json=ask) as answer:
        next(answer.iter_lines())
    tiny.wait_until(lambda: loaded.local.outputs == 0)
