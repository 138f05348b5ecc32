"""Bodies of every kind of nonsense: always an answer below 500, always in the form of the API that was asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.running import Running

pytestmark = pytest.mark.integration  # by its time: seconds, not milliseconds

OPENAI = {
    "/v1/chat/completions": {"model": "llama", "messages": [{"role": "user", "content": "a"}], "max_tokens": 2},
    "/v1/completions": {"model": "llama", "prompt": "a", "max_tokens": 2},
    "/v1/embeddings": {"model": "llama", "input": "a"},
    "/v1/classify": {"model": "llama", "input": "a"},
    "/tokenize": {"model": "llama", "prompt": "a"},
    "/detokenize": {"model": "llama", "tokens": [1]},
}
OLLAMA = {
    "/api/chat": {"model": "llama", "messages": [{"role": "user", "content": "a"}], "options": {"num_predict": 2}},
    "/api/generate": {"model": "llama", "prompt": "a", "options": {"num_predict": 2}},
    "/api/embed": {"model": "llama", "input": "a"},
    "/api/embeddings": {"model": "llama", "prompt": "a"},
    "/api/show": {"model": "llama"},
    "/api/copy": {"source": "none", "destination": "other"},
    "/api/delete": {"model": "none"},
    "/api/create": {"model": "new", "from": "none"},
    "/api/pull": {"model": "nothing-of-this-name"},
    "/api/push": {"model": "nothing-of-this-name"},
}
ANTHROPIC = {
    "/v1/messages": {"model": "llama", "messages": [{"role": "user", "content": "a"}], "max_tokens": 2},
    "/v1/messages/count_tokens": {"model": "llama", "messages": [{"role": "user", "content": "a"}]},
}
RESPONSES = {
    "/v1/responses": {"model": "llama", "input": "a", "max_output_tokens": 2},
    "/v1/responses/input_tokens": {"model": "llama", "input": "a"},
}
BODIES = {**OPENAI, **OLLAMA, **ANTHROPIC, **RESPONSES}
FIELDS = [
    "model", "messages", "prompt", "input", "max_tokens", "stream", "tools", "tool_choice", "response_format", "n",
    "stop", "temperature", "top_p", "logprobs", "top_logprobs", "logit_bias", "seed", "format", "options", "system",
    "structured_outputs", "stream_options", "tokens", "keep_alive", "thinking", "stop_sequences", "text", "echo",
    "truncate", "user", "metadata", "priority", "timeout", "best_of", "stop_token_ids", "min_p", "instructions",
]  # fmt: skip

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def mutated(good: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """A good body with fields replaced, added or removed; or bytes that are no body at all."""
    change = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=8), values, min_size=1, max_size=4)
    removed = st.lists(st.sampled_from(sorted(good)), max_size=2)
    bodies = st.builds(
        lambda new, gone: json.dumps({k: v for k, v in {**good, **new}.items() if k not in gone}).encode(),
        change, removed,
    )  # fmt: skip
    cut = st.builds(lambda body, at: body[: at % (len(body) + 1)], bodies, st.integers(0, 10_000))
    return st.one_of(bodies, bodies, bodies, cut, st.binary(max_size=60), values.map(lambda v: json.dumps(v).encode()))


def check_form(path: str, status: int, document: Any) -> None:
    """The form of an error is the API's own."""
    if path.startswith("/v1/messages"):
        assert document["type"] == "error" and set(document["error"]) == {"type", "message"}
    elif path.startswith("/api/"):
        assert isinstance(document["error"], str)
    else:
        assert set(document["error"]) == {"message", "type", "param", "code"}
        assert document["error"]["type"].endswith("_error")


@pytest.fixture(scope="module")
def client(tiny: Running) -> Iterator[httpx.Client]:
    with tiny.client() as client:
        yield client


def attack(client: httpx.Client, path: str, body: bytes) -> int:
    method = "DELETE" if path == "/api/delete" else "POST"
    answer = client.request(method, path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code < 500, (body, answer.text)
    if answer.status_code >= 400:
        check_form(path, answer.status_code, answer.json())
    return answer.status_code


@pytest.mark.parametrize("path", BODIES)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_malformed_bodies_are_refused_in_the_apis_form(client: httpx.Client, path: str, data: st.DataObject) -> None:
    attack(client, path, data.draw(mutated(BODIES[path])))


def test_nothing_is_left_behind(tiny: Running) -> None:
    """After all that, the engine is idle and every slot is free."""
    loaded = tiny.service.loaded()[0]
    engine = loaded.local.decoder_engine
    assert engine is not None
    tiny.wait_until(lambda: engine.stats().running == engine.stats().waiting == 0)
    tiny.wait_until(lambda: loaded.local.outputs == 0 and loaded.users == 0)


def test_a_body_that_is_too_large_is_refused(tiny: Running) -> None:
    huge = b'{"model": "' + b"x" * (17 * 2**20) + b'"}'
    with tiny.client() as client:
        answer = client.post("/v1/completions", content=huge)
        assert answer.status_code == 413 and answer.json()["error"]["code"] == "request_too_large"

        def pieces() -> Any:  # no length is announced
            for _ in range(17):
                yield b" " * 2**20

        assert client.post("/v1/completions", content=pieces()).status_code == 413


def test_lenient_servers_say_what_they_ignore(tiny: Running) -> None:
    body = {**OPENAI["/v1/chat/completions"], "metadata": {"a": "b"}, "frequency": 1}
    with tiny.client() as client:
        assert client.post("/v1/chat/completions", json=body).status_code == 400
        configuration = tiny.service.configuration
        tiny.service.configuration = configuration.model_copy(update={"lenient": True})
        try:
            answer = client.post("/v1/chat/completions", json=body)
        finally:
            tiny.service.configuration = configuration
    assert answer.status_code == 200
    assert set(answer.headers["x-llmasos-warning"].removeprefix("ignored: ").split(", ")) == {"metadata", "frequency"}
