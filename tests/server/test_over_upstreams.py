"""Anthropic's messages and OpenAI's responses over a model that another server computes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from server.running import Running, running
from server.scripted import events


@pytest.fixture(scope="module")
def gateway(tiny: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    upstreams = {"far": {"url": f"{tiny.address}/v1", "model": "llama"}}
    with running(tmp_path_factory.mktemp("home"), upstreams=upstreams) as opened:
        yield opened


def post(server: Running, path: str, body: dict[str, Any]) -> Any:
    with server.client() as client:
        return client.post(path, json=body)


def test_messages(gateway: Running, tiny: Running) -> None:
    ask = {"max_tokens": 8, "temperature": 0, "messages": [{"role": "user", "content": "Hi"}]}
    near = post(tiny, "/v1/messages", {**ask, "model": "llama"}).json()
    far = post(gateway, "/v1/messages", {**ask, "model": "far"}).json()
    assert far["content"] == near["content"] and far["stop_reason"] == near["stop_reason"]
    assert far["usage"]["output_tokens"] == near["usage"]["output_tokens"]
    found = events(post(gateway, "/v1/messages", {**ask, "model": "far", "stream": True}).text)
    text = "".join(data["delta"]["text"] for name, data in found if name == "content_block_delta")
    assert text == near["content"][0]["text"] and found[-1][0] == "message_stop"


def test_responses(gateway: Running, tiny: Running) -> None:
    ask = {"max_output_tokens": 8, "temperature": 0, "input": "Hi", "instructions": "Be brief."}
    near = post(tiny, "/v1/responses", {**ask, "model": "llama"}).json()
    far = post(gateway, "/v1/responses", {**ask, "model": "far"}).json()
    assert far["output"][0]["content"] == near["output"][0]["content"] and far["status"] == near["status"]
    again = {"model": "far", "input": "And?", "previous_response_id": far["id"], "max_output_tokens": 4}
    assert post(gateway, "/v1/responses", again).status_code == 200


@pytest.mark.parametrize(("path", "body"), [
    ("/v1/messages/count_tokens", {"messages": [{"role": "user", "content": "Hi"}]}),
    ("/v1/responses/input_tokens", {"input": "Hi"}), ("/v1/responses", {"input": "Hi", "truncation": "auto"}),
])  # fmt: skip
def test_what_needs_the_tokenizer_is_refused(gateway: Running, path: str, body: dict[str, Any]) -> None:
    answer = post(gateway, path, {"model": "far", **body})
    assert answer.status_code == 400 and "computed by another server" in answer.json()["error"]["message"]
