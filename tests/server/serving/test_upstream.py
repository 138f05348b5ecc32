"""Models that other servers compute: another server of ours, and a stand-in that misbehaves."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from server.running import Running, alike, running

pytestmark = pytest.mark.integration  # by its time: seconds, not milliseconds

CHAT: dict[str, Any] = {
    "model": "far", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 6, "temperature": 0,
}  # fmt: skip


@pytest.fixture
def gateway(tiny: Running, home: Path) -> Iterator[Running]:
    """A server whose model ``far`` is the tiny server's."""
    with running(home, upstreams={"far": {"url": f"{tiny.address}/v1", "model": "llama"}}) as server:
        yield server


def test_an_upstream_answers_as_if_it_were_here(tiny: Running, gateway: Running) -> None:
    fields = {**CHAT, "logprobs": True, "top_logprobs": 1, "n": 2, "seed": 1, "temperature": 1}
    with tiny.client() as near, gateway.client() as far:
        here = near.post("/v1/chat/completions", json={**fields, "model": "llama"}).json()
        there = far.post("/v1/chat/completions", json=fields).json()
        assert (
            alike(there["choices"], here["choices"]) and there["usage"]["total_tokens"] == here["usage"]["total_tokens"]
        )
        text = {"prompt": "The quick", "max_tokens": 5, "temperature": 0, "logprobs": 1}
        here = near.post("/v1/completions", json={**text, "model": "llama"}).json()
        there = far.post("/v1/completions", json={**text, "model": "far"}).json()
        assert alike(there["choices"], here["choices"])
        streamed = far.post("/v1/chat/completions", json={**CHAT, "stream": True}).text
        assert streamed.endswith("data: [DONE]\n\n") and '"finish_reason":"length"' in streamed
        form = {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"enum": ["x"]}}}}
        assert (
            far.post("/v1/chat/completions", json={**CHAT, **form}).json()["choices"][0]["message"]["content"] == '"x"'
        )
        listed = far.get("/v1/models").json()["data"]
        assert [(item["id"], item["kind"]) for item in listed] == [("far", "upstream")]


def test_errors_of_an_upstream_are_passed_on(gateway: Running) -> None:
    with gateway.client() as client:
        long = client.post("/v1/chat/completions", json={**CHAT, "messages": [{"role": "user", "content": "a " * 900}]})
        assert long.status_code == 400 and "context length" in long.json()["error"]["message"]
        for fields in ({"truncate": "left"}, {"continue_final_message": True}):
            refused = client.post("/v1/chat/completions", json={**CHAT, **fields})
            assert refused.status_code == 400 and "another server" in refused.json()["error"]["message"]
        assert client.post("/tokenize", json={"model": "far", "prompt": "x"}).status_code == 400


def test_a_client_that_goes_away_stops_the_upstream(tiny: Running, gateway: Running) -> None:
    engine = tiny.service.loaded()[0].local.decoder_engine
    assert engine is not None
    body = {**CHAT, "max_tokens": 220, "ignore_eos": True, "stream": True, "n": 8}
    with gateway.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as answer:
        next(answer.iter_lines())
    tiny.wait_until(lambda: engine.stats().running == engine.stats().waiting == 0)
    tiny.wait_until(lambda: tiny.service.loaded()[0].local.outputs == 0)


Script = Callable[[BaseHTTPRequestHandler, int], None]


@pytest.fixture
def scripted(home: Path) -> Iterator[Callable[[Script], tuple[Running, list[int]]]]:
    """A gateway to a stand-in that does what a script says with each call."""
    open_contexts: list[Any] = []

    def start(script: Script, **configuration: Any) -> tuple[Running, list[int]]:
        calls = [0]

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                calls[0] += 1
                script(self, calls[0])

            def log_message(self, *_: object) -> None:
                pass

        web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=web.serve_forever, daemon=True).start()
        upstream = {"url": f"http://127.0.0.1:{web.server_address[1]}/v1", **configuration}
        context = running(home, upstreams={"far": upstream})
        open_contexts.append((context, web))
        return context.__enter__(), calls

    yield start
    for context, web in open_contexts:
        context.__exit__(None, None, None)
        web.shutdown()
        web.server_close()


def say(
    handler: BaseHTTPRequestHandler, status: int, body: bytes, kind: str = "application/json", **headers: str
) -> None:
    handler.send_response(status)
    for name, value in {"content-type": kind, "content-length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def chunks(*deltas: dict[str, Any], done: bool = True) -> bytes:
    lines = [f"data: {json.dumps({'choices': [choice]})}\n\n" for choice in deltas]
    return ("".join(lines) + ("data: [DONE]\n\n" if done else "")).encode()


GOOD = chunks(
    {"index": 0, "delta": {"content": "Hi"}, "finish_reason": None},
    {"index": 0, "delta": {}, "finish_reason": "stop"},
)


def post(server: Running) -> Any:
    with server.client() as client:
        return client.post("/v1/chat/completions", json=CHAT)


def test_a_failing_upstream_is_tried_again(scripted: Any) -> None:
    def script(handler: BaseHTTPRequestHandler, call: int) -> None:
        if call < 3:
            say(handler, 503, b'{"error": {"message": "busy"}}')
        else:
            say(handler, 200, GOOD, "text/event-stream")

    server, calls = scripted(script)
    answer = post(server)
    assert answer.status_code == 200 and answer.json()["choices"][0]["message"]["content"] == "Hi"
    assert calls == [3] and server.metric("llmasos_upstream_failures_total", model="far", reason="503") == 2


def test_an_upstream_that_keeps_failing_is_left_alone(scripted: Any) -> None:
    server, calls = scripted(
        lambda handler, call: say(handler, 500, b"oops"), retries=0, failures_to_open=2, open_seconds=30
    )
    assert [post(server).status_code for _ in range(5)] == [503] * 5
    assert calls == [2]
    assert "left alone" in post(server).json()["error"]["message"]


def test_an_upstream_that_is_not_there_is_told(home: Path) -> None:
    with running(home, upstreams={"far": {"url": "http://127.0.0.1:9/v1", "retries": 1}}) as server:
        answer = post(server)
        assert answer.status_code == 503 and "cannot be reached" in answer.json()["error"]["message"]


def test_its_limits_are_passed_on(scripted: Any) -> None:
    server, calls = scripted(lambda handler, call: say(handler, 429, b"{}", retry_after="77"))
    answer = post(server)
    assert (answer.status_code, answer.headers["retry-after"], calls) == (429, "77", [1])


@pytest.mark.parametrize(
    "body",
    [
        b"data: {nonsense\n\n",
        b"data: [1]\n\n",
        chunks({"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}, done=False),
        b'data: {"error": {"message": "exploded"}}\n\n',
        b"",
    ],
)
def test_answers_that_break_off_are_errors(scripted: Any, body: bytes) -> None:
    server, _ = scripted(lambda handler, call: say(handler, 200, body, "text/event-stream"))
    answer = post(server)
    assert answer.status_code == 503, answer.text
    with server.client() as client:
        streamed = client.post("/v1/chat/completions", json={**CHAT, "stream": True}).text
    assert '"error":' in streamed and streamed.endswith("data: [DONE]\n\n")


def test_a_refused_key_is_the_gateways_fault(scripted: Any) -> None:
    server, _ = scripted(lambda handler, call: say(handler, 401, b'{"error": "bad key"}'))
    answer = post(server)
    assert answer.status_code == 503 and "api_key_variable" in answer.json()["error"]["message"]


def test_the_key_for_an_upstream_comes_from_the_environment(scripted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def script(handler: BaseHTTPRequestHandler, call: int) -> None:
        seen.append(handler.headers["authorization"])
        say(handler, 200, GOOD, "text/event-stream")

    server, _ = scripted(script, api_key_variable="FAR_KEY")
    assert "FAR_KEY" in post(server).json()["error"]["message"]
    monkeypatch.setenv("FAR_KEY", "secret")
    assert post(server).status_code == 200 and seen == ["Bearer secret"]
