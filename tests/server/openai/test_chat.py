"""Chat completions over the wire, with a tiny random model: shapes, fields, errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.running import Running, alike

ASK: dict[str, Any] = {
    "model": "llama", "messages": [{"role": "user", "content": "Hello there"}], "max_tokens": 8, "temperature": 0,
}  # fmt: skip


def chat(server: Running, **fields: Any) -> Any:
    with server.client() as client:
        return client.post("/v1/chat/completions", json={**ASK, **fields})


def stream(server: Running, **fields: Any) -> list[dict[str, Any]]:
    with server.client() as client:
        answer = client.post("/v1/chat/completions", json={**ASK, "stream": True, **fields})
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_a_stream_says_the_same_as_the_whole(tiny: Running) -> None:
    whole = chat(tiny, logprobs=True, top_logprobs=2).json()
    chunks = stream(tiny, logprobs=True, top_logprobs=2, stream_options={"include_usage": True})
    choice = whole["choices"][0]
    assert whole["object"] == "chat.completion" and choice["message"]["role"] == "assistant"
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks[:-1]) == choice["message"]["content"]
    tokens = [t for c in chunks[:-1] for t in (c["choices"][0]["logprobs"] or {"content": []})["content"]]
    assert alike(tokens, choice["logprobs"]["content"])
    assert all(len(token["top_logprobs"]) == 2 for token in tokens)
    ends = [c["choices"][0]["finish_reason"] for c in chunks[:-1]]
    assert ends[-1] == choice["finish_reason"] and set(ends[:-1]) == {None}
    assert (
        chunks[-1]["choices"] == [] and chunks[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    )
    assert {c["id"] for c in chunks} == {chunks[0]["id"]} and all(c["usage"] is None for c in chunks[:-1])
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}


def test_text_in_parts_is_joined(tiny: Running) -> None:
    parts = [{"type": "text", "text": "Hello"}, {"type": "text", "text": "there"}]
    whole = chat(tiny, messages=[{"role": "user", "content": "Hello\nthere"}]).json()
    assert chat(tiny, messages=[{"role": "user", "content": parts}]).json()["choices"] == whole["choices"]
    for bad, reason in (({"type": "text"}, "text is missing"), ({"type": "text", "text": "a", "x": 1}, "x: unknown")):
        refused = chat(tiny, messages=[{"role": "user", "content": [bad]}])
        assert refused.status_code == 400 and reason in refused.json()["error"]["message"]


def test_every_chunk_can_have_the_usage_so_far(tiny: Running) -> None:
    """vLLM's addition, which guidellm asks for."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = stream(tiny, stream_options=options, ignore_eos=True)
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks if chunk["usage"] is not None]
    assert counts == sorted(counts) and counts[-1] == 8 and len(counts) > 2
    assert {chunk["usage"]["prompt_tokens"] for chunk in chunks if chunk["usage"] is not None} == {
        chunks[-1]["usage"]["prompt_tokens"]
    }
    with tiny.client() as client:
        body = {"model": "llama", "prompt": "a", "max_tokens": 3, "stream": True, "stream_options": options,
                "ignore_eos": True}  # fmt: skip
        text = client.post("/v1/completions", json=body).text
    assert text.count('"completion_tokens"') >= 4


def test_n_outputs_have_their_own_numbers(tiny: Running) -> None:
    answer = chat(tiny, n=3, temperature=1, seed=5).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    chunks = stream(tiny, n=3, temperature=1, seed=5)
    for index, choice in enumerate(answer["choices"]):
        parts = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == index]
        assert "".join(part["delta"].get("content", "") for part in parts) == choice["message"]["content"]
        assert parts[-1]["finish_reason"] == choice["finish_reason"]


def test_the_same_seed_gives_the_same(tiny: Running) -> None:
    first, second = (chat(tiny, temperature=1.5, seed=7).json()["choices"][0]["message"] for _ in range(2))
    assert first == second


def test_stop_texts_end_and_are_named(tiny: Running) -> None:
    text = chat(tiny, max_tokens=12, ignore_eos=True).json()["choices"][0]["message"]["content"]
    stop = text[len(text) // 2 :][:3]
    choice = chat(tiny, max_tokens=12, ignore_eos=True, stop=[stop]).json()["choices"][0]
    assert choice["finish_reason"] == "stop" and choice["stop_reason"] == stop
    assert choice["message"]["content"] == text[: text.index(stop)]


@pytest.mark.parametrize("form", [
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ["red", "blue"]}}}},
    {"structured_outputs": {"choice": ['"red"', '"blue"']}}, {"structured_outputs": {"regex": '"(red|blue)"'}},
    {"structured_outputs": {"grammar": 'start: "\\"red\\"" | "\\"blue\\""'}},
    {"structured_outputs": {"json": {"enum": ["red", "blue"]}}},
])  # fmt: skip
def test_outputs_follow_their_form(tiny: Running, form: dict[str, Any]) -> None:
    for _ in range(3):
        content = chat(tiny, **form, max_tokens=40, temperature=1.5).json()["choices"][0]["message"]["content"]
        assert json.loads(content) in ("red", "blue")


TOOL = {
    "type": "function",
    "function": {
        "name": "look_up", "description": "Finds things",
        "parameters": {"type": "object", "properties": {"what": {"enum": ["sun", "moon"]}}, "required": ["what"],
                       "additionalProperties": False},
    },
}  # fmt: skip


def test_models_whose_calls_are_not_known_say_so(tiny: Running) -> None:
    answer = chat(tiny, tools=[TOOL])
    assert answer.status_code == 400 and "hermes" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "param", "reason"),
    [
        ({"temperature": 3, "top_p": 0}, "top_p", "greater than 0"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "messages[0].role", "nobody"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id", "missing"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages[0].content[0]",
            "image_url",
        ),
        ({"logit_bias": {"x": 1}}, "logit_bias", "'x'"),
        ({"top_logprobs": 2}, "top_logprobs", "needs logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "needs stream"),
        ({"max_completion_tokens": 5}, "max_completion_tokens", "mean the same"),
        ({"functions": []}, "functions", "use tools"),
        ({"modalities": ["audio"]}, "modalities", "write text"),
        ({"chat_template_kwargs": {"thinking": 1}}, None, "no variable thinking"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs", "exactly one"),
        ({"structured_outputs": {"regex": "("}}, None, "regex"),
        ({"logit_bias": {"999999": 1}}, None, "logit_bias"),
        ({"model": "lama"}, None, "llama"),
    ],
)
def test_what_is_wrong_is_named(tiny: Running, fields: dict[str, Any], param: str | None, reason: str) -> None:
    answer = chat(tiny, **fields)
    error = answer.json()["error"]
    assert answer.status_code == (404 if "model" in fields else 400), answer.text
    assert error["param"] == param and reason in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


def test_a_prompt_that_does_not_fit_is_refused_or_cut_as_asked(tiny: Running) -> None:
    long = [{"role": "user", "content": "word " * 400}]
    refused = chat(tiny, messages=long)
    assert refused.status_code == 400 and refused.json()["error"]["code"] == "context_length_exceeded"
    cut = chat(tiny, messages=long, truncate="left")
    assert cut.status_code == 200 and cut.json()["usage"]["prompt_tokens"] <= 256 - 8


def test_the_last_message_can_be_continued(tiny: Running) -> None:
    messages = [*ASK["messages"], {"role": "assistant", "content": "Once upon"}]
    continued = chat(tiny, messages=messages, continue_final_message=True)
    assert continued.status_code == 200
    with tiny.client() as client:
        plain = client.post("/tokenize", json={"model": "llama", "messages": ASK["messages"]}).json()["tokens"]
        begun = client.post("/tokenize", json={"model": "llama", "prompt": "Once upon"}).json()["tokens"]
    prompt = {"model": "llama", "prompt": plain + begun, "max_tokens": 8, "temperature": 0}
    with tiny.client() as client:
        expected = client.post("/v1/completions", json=prompt).json()["choices"][0]["text"]
    assert continued.json()["choices"][0]["message"]["content"] == expected
    assert chat(tiny, continue_final_message=True).status_code == 400


def test_thinking_is_told_apart(tiny: Running) -> None:
    """The template opens <think> when asked; the random model never closes it, so that all is reasoning."""
    answer = chat(tiny, reasoning_effort="high").json()["choices"][0]["message"]
    assert answer["content"] == "" and answer["reasoning_content"]
    kept = chat(tiny, reasoning_effort="high", include_reasoning=False).json()["choices"][0]["message"]
    assert kept["content"].strip() == answer["reasoning_content"].strip() and "reasoning_content" not in kept
    chunks = stream(tiny, reasoning_effort="high")
    thought = "".join(chunk["choices"][0]["delta"].get("reasoning_content", "") for chunk in chunks)
    assert thought == answer["reasoning_content"]


def test_requests_have_an_id(tiny: Running) -> None:
    with tiny.client() as client:
        answer = client.post("/v1/chat/completions", json=ASK, headers={"x-request-id": "mine-1"})
        assert answer.headers["x-request-id"] == "mine-1" and answer.json()["id"] == "chatcmpl-mine-1"
        answer = client.post("/v1/chat/completions", json=ASK, headers={"x-request-id": "bad id"})
        assert answer.headers["x-request-id"].startswith("req_")


def test_paths_and_methods_that_are_not_there(tiny: Running) -> None:
    with tiny.client() as client:
        assert client.get("/v1/nothing").json()["error"]["message"].startswith("there is no /v1/nothing")
        answer = client.get("/v1/chat/completions")
        assert answer.status_code == 405 and "POST" in answer.headers["allow"]
