"""Generate, chat and embed on tiny models: limits, context, loading and unloading, clients that go away."""

from __future__ import annotations

import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from server.running import Running

HELLO = [{"role": "user", "content": "Hello, how are you?"}]
GREEDY = {"temperature": 0, "num_predict": 6}


def post(server: Running, path: str, **body: Any) -> Any:
    with server.client() as client:
        answer = client.post(path, json={"model": "tiny", "stream": False, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(server: Running, path: str, **body: Any) -> tuple[int, str]:
    with server.client() as client:
        answer = client.post(path, json={"model": "tiny", "stream": False, **body})
    return answer.status_code, answer.json()["error"]


def test_a_name_without_a_tag_means_latest(stocked: Running) -> None:
    assert post(stocked, "/api/chat", messages=HELLO, options=GREEDY)["eval_count"] == 6
    assert post(stocked, "/api/chat", model="tiny:latest", messages=HELLO, options=GREEDY)["model"] == "tiny:latest"
    status, message = refused(stocked, "/api/chat", model="tinny", messages=HELLO)
    assert status == 404 and "no model 'tinny'" in message


def test_streamed_and_whole_answers_say_the_same(stocked: Running) -> None:
    whole = post(stocked, "/api/chat", messages=HELLO, options=GREEDY)
    with stocked.client() as client:
        body = {"model": "tiny", "messages": HELLO, "options": GREEDY}
        found = [json.loads(line) for line in client.post("/api/chat", json=body).text.splitlines()]
    assert "".join(line["message"]["content"] for line in found) == whole["message"]["content"]
    assert found[-1]["eval_count"] == whole["eval_count"] == 6


def test_num_ctx_is_a_limit_and_never_cuts_unasked(stocked: Running) -> None:
    tokens = post(stocked, "/api/chat", messages=HELLO, options=GREEDY)["prompt_eval_count"]
    answer = post(stocked, "/api/chat", messages=HELLO, options={**GREEDY, "num_ctx": tokens + 2})
    assert (answer["eval_count"], answer["done_reason"]) == (2, "length")
    status, message = refused(stocked, "/api/chat", messages=HELLO, options={**GREEDY, "num_ctx": tokens})
    assert status == 400 and f"the prompt has {tokens} tokens" in message
    cut = post(stocked, "/api/chat", messages=HELLO, options={**GREEDY, "num_ctx": 16}, truncate=True)
    assert cut["prompt_eval_count"] < tokens
    larger = post(stocked, "/api/chat", messages=HELLO, options={**GREEDY, "num_ctx": 10**6})
    assert larger["prompt_eval_count"] == tokens


def test_the_context_of_an_answer_stands_before_the_next_prompt(stocked: Running) -> None:
    first = post(stocked, "/api/generate", prompt="Hello", options=GREEDY)
    alone = post(stocked, "/api/generate", prompt="And now?", options=GREEDY)
    second = post(stocked, "/api/generate", prompt="And now?", options=GREEDY, context=first["context"])
    assert second["prompt_eval_count"] == len(first["context"]) + alone["prompt_eval_count"]
    assert second["context"][: len(first["context"])] == first["context"]


def test_raw_goes_around_the_template(stocked: Running) -> None:
    raw = post(stocked, "/api/generate", prompt="Hello", raw=True, options=GREEDY)
    assert (
        raw["prompt_eval_count"] < post(stocked, "/api/generate", prompt="Hello", options=GREEDY)["prompt_eval_count"]
    )


def test_a_template_may_be_sent_if_it_is_the_models_own(stocked: Running) -> None:
    with stocked.client() as client:
        own = client.post("/api/show", json={"model": "tiny"}).json()["template"]
    assert post(stocked, "/api/generate", prompt="Hello", template=own, options=GREEDY)["done"]
    status, message = refused(stocked, "/api/generate", prompt="Hello", template="{{ .Prompt }}")
    assert status == 400 and message.startswith("template is not the one of tiny")


def test_thinking_is_asked_of_the_template(stocked: Running) -> None:
    off = post(stocked, "/api/chat", messages=HELLO, think=False, options=GREEDY)["prompt_eval_count"]
    on = post(stocked, "/api/chat", messages=HELLO, think=True, options=GREEDY)["prompt_eval_count"]
    assert on > off
    status, message = refused(stocked, "/api/chat", messages=HELLO, think="high")
    assert status == 400 and "levels of thinking" in message


def test_a_format_holds(stocked: Running) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["n"],
              "additionalProperties": False}  # fmt: skip
    answer = post(stocked, "/api/chat", messages=HELLO, format=schema, options={"temperature": 0})
    assert set(json.loads(answer["message"]["content"])) == {"n"}
    status, message = refused(stocked, "/api/chat", messages=HELLO, format={"type": "strange"})
    assert status == 400 and "strange" in message


def test_the_same_seed_gives_the_same_text(stocked: Running) -> None:
    options = {"temperature": 1.5, "seed": 5, "num_predict": 8}
    texts = {post(stocked, "/api/generate", prompt="x", options=options)["response"] for _ in range(3)}
    assert len(texts) == 1


def test_without_a_prompt_a_model_is_loaded_or_unloaded(stocked: Running) -> None:
    with stocked.client() as client:
        assert post(stocked, "/api/generate")["done_reason"] == "load"
        (found,) = [item for item in client.get("/api/ps").json()["models"] if item["name"] == "tiny"]
        assert found["size"] > 0 and found["size_vram"] == 0 and found["context_length"] > 0
        assert post(stocked, "/api/chat", messages=[], keep_alive=-1)["done_reason"] == "load"
        (found,) = [item for item in client.get("/api/ps").json()["models"] if item["name"] == "tiny"]
        assert found["expires_at"].startswith("9999")
        answer = client.post("/api/chat", json={"model": "tiny", "keep_alive": 0})
        assert json.loads(answer.text)["done_reason"] == "unload"
        assert client.get("/api/ps").json()["models"] == []


def test_keep_alive_zero_unloads_after_the_answer(stocked: Running) -> None:
    assert post(stocked, "/api/chat", messages=HELLO, options=GREEDY, keep_alive=0)["done"]
    with stocked.client() as client:
        stocked.wait_until(lambda: client.get("/api/ps").json()["models"] == [])


def test_a_client_that_goes_frees_its_place(stocked: Running) -> None:
    post(stocked, "/api/generate")
    before = stocked.metric("llmasos_requests_cancelled_total", model="tiny")
    body = json.dumps({"model": "tiny", "prompt": "x", "options": {"num_predict": -1, "temperature": 0}}).encode()
    host, port = urlsplit(stocked.address).netloc.split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /api/generate HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        assert connection.recv(64).startswith(b"HTTP/1.1 200")
    stocked.wait_until(lambda: all(item.users == 0 for item in stocked.service.loaded()))
    assert stocked.metric("llmasos_requests_cancelled_total", model="tiny") in (before, before + 1)


def test_vectors_have_length_one(stocked: Running) -> None:
    answer = post_embed(stocked, input=["This is a great movie!", "Pack my box."])
    assert len(answer["embeddings"]) == 2
    assert all(sum(value**2 for value in row) == pytest.approx(1, abs=1e-5) for row in answer["embeddings"])
    assert answer["prompt_eval_count"] > 4 and answer["total_duration"] > 0
    assert post_embed(stocked, input="Pack my box.")["embeddings"][0] == pytest.approx(
        answer["embeddings"][1], abs=1e-5
    )
    assert post_embed(stocked, input=[])["embeddings"] == []


def post_embed(server: Running, **body: Any) -> Any:
    with server.client() as client:
        answer = client.post("/api/embed", json={"model": "vectors", **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_text_that_does_not_fit_is_cut_only_if_asked(stocked: Running) -> None:
    text = "movie " * 2000
    with stocked.client() as client:
        answer = client.post("/api/embed", json={"model": "vectors", "input": text})
        assert answer.status_code == 400, answer.text
        short = client.post("/api/embed", json={"model": "vectors", "input": "a movie", "options": {"num_ctx": 2}})
        assert (short.status_code, short.json()["error"][:8]) == (400, "input[0]")
    assert post_embed(stocked, input=text, truncate=True)["embeddings"]


def test_the_older_route_gives_one_vector(stocked: Running) -> None:
    with stocked.client() as client:
        answer = client.post("/api/embeddings", json={"model": "vectors", "prompt": "This is a great movie!"})
        assert len(answer.json()["embedding"]) == 16
        assert client.post("/api/embeddings", json={"model": "vectors"}).json() == {"embedding": []}
        assert client.post("/api/embeddings", json={"model": "tiny", "prompt": "x"}).status_code == 400


def test_lines_come_while_they_are_written(stocked: Running) -> None:
    with (
        stocked.client() as client,
        client.stream("POST", "/api/generate", json={"model": "tiny", "prompt": "x", "options": {"num_predict": 60}})
        as answer,
    ):  # fmt: skip
        moments = [time.monotonic() for _ in answer.iter_lines()]
    assert len(set(moments)) > 5


def test_doors(stocked: Running) -> None:
    with stocked.client() as client:
        assert "Ollama is running" in client.get("/").text and "LLMasOS" in client.get("/").text
        assert client.head("/").status_code == 200
        level, _, own = client.get("/api/version").json()["version"].partition("+")
        assert level.count(".") == 2 and own.startswith("llmasos.")
        missing: httpx.Response = client.get("/api/nothing")
        assert (missing.status_code, set(missing.json())) == (404, {"error"})
