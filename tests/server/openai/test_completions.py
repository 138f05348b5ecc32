"""Completions, embeddings, labels, models and tokens over the wire, with tiny random models."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.running import Running, running
from tiny_models import build

ASK: dict[str, Any] = {"model": "llama", "prompt": "The quick brown", "max_tokens": 6, "temperature": 0}


def complete(server: Running, **fields: Any) -> Any:
    with server.client() as client:
        return client.post("/v1/completions", json={**ASK, **fields})


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folders = [
        str(build(name, tmp_path_factory.mktemp("models") / name))
        for name in ("sentence_transformer", "bert_classifier")
    ]
    with running(tmp_path_factory.mktemp("home"), models=tuple(folders)) as server:
        yield server


def test_prompts_of_every_form(tiny: Running) -> None:
    with tiny.client() as client:
        ids = client.post("/tokenize", json={"model": "llama", "prompt": ASK["prompt"]}).json()["tokens"]
    text = complete(tiny).json()["choices"][0]["text"]
    assert complete(tiny, prompt=ids).json()["choices"][0]["text"] == text
    both = complete(tiny, prompt=[ASK["prompt"], "once"]).json()["choices"]
    assert [choice["index"] for choice in both] == [0, 1] and both[0]["text"] == text
    assert complete(tiny, prompt=[ids, ids]).json()["choices"][1]["text"] == text


def test_a_stream_says_the_same_as_the_whole(tiny: Running) -> None:
    fields = {"prompt": ["The quick", "once upon"], "n": 2, "temperature": 1, "seed": 3, "logprobs": 1}
    whole = complete(tiny, **fields).json()
    answer = complete(tiny, **fields, stream=True, stream_options={"include_usage": True})
    events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert events.pop() == "[DONE]"
    chunks = [json.loads(text) for text in events]
    for choice in whole["choices"]:
        parts = [c["choices"][0] for c in chunks[:-1] if c["choices"][0]["index"] == choice["index"]]
        assert "".join(part["text"] for part in parts) == choice["text"]
        assert [t for part in parts for t in part["logprobs"]["tokens"]] == choice["logprobs"]["tokens"]
    assert chunks[-1]["usage"]["total_tokens"] == whole["usage"]["total_tokens"]


def test_echo_with_logprobs_scores_the_prompt(tiny: Running) -> None:
    """What evaluation harnesses ask for."""
    choice = complete(tiny, echo=True, logprobs=2, max_tokens=0).json()["choices"][0]
    logprobs = choice["logprobs"]
    assert choice["text"] == ASK["prompt"] == "".join(logprobs["tokens"])
    assert logprobs["token_logprobs"][0] is None and all(value < 0 for value in logprobs["token_logprobs"][1:])
    assert [choice["text"][offset] for offset in logprobs["text_offset"]] == [t[0] for t in logprobs["tokens"]]
    assert all(len(top) == 2 or token in top for top, token in zip(logprobs["top_logprobs"][1:], logprobs["tokens"][1:],
                                                                    strict=True))  # fmt: skip


def test_best_of_returns_the_likeliest(tiny: Running) -> None:
    answer = complete(tiny, best_of=4, n=2, temperature=2, seed=1).json()
    assert len(answer["choices"]) == 2 and answer["usage"]["completion_tokens"] > 12


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"suffix": "x"}, "suffix is not supported"),
        ({"best_of": 1, "n": 2}, "below n"),
        ({"best_of": 2, "stream": True}, "cannot be streamed"),
        ({"prompt": []}, "empty list"),
        ({"prompt": ""}, "empty"),
        ({"prompt": [10**6]}, "prompt_ids"),
        ({"max_tokens": 0}, "needs echo"),
        ({"prompt": {"a": 1}}, "prompt"),
    ],
)
def test_what_is_wrong_is_named(tiny: Running, fields: dict[str, Any], reason: str) -> None:
    answer = complete(tiny, **fields)
    assert answer.status_code == 400 and reason in answer.json()["error"]["message"], answer.text


def test_embeddings(encoders: Running) -> None:
    with encoders.client() as client:
        ask = lambda **fields: client.post(  # noqa: E731
            "/v1/embeddings", json={"model": "sentence_transformer", "input": "a great movie", **fields}
        )
        plain = ask().json()
        vector = plain["data"][0]["embedding"]
        assert plain["usage"]["prompt_tokens"] == plain["usage"]["total_tokens"] > 0
        packed = base64.b64decode(ask(encoding_format="base64").json()["data"][0]["embedding"])
        assert struct.unpack(f"<{len(vector)}f", packed) == pytest.approx(vector)
        many = ask(input=["a great movie", "other"]).json()["data"]
        assert many[0]["embedding"] == pytest.approx(vector, abs=1e-5) and many[1]["index"] == 1
        for bad in ({"input": []}, {"input": ""}, {"input": ["a", 1]}, {"input_type": "query"}, {"dimensions": 0},
                    {"model": "bert_classifier"}):  # fmt: skip
            assert ask(**bad).status_code == 400, bad


def test_labels(encoders: Running) -> None:
    with encoders.client() as client:
        answer = client.post("/v1/classify", json={"model": "bert_classifier", "input": ["good", "bad"]}).json()
        assert len(answer["data"]) == 2
        for item in answer["data"]:
            assert item["label"] in item["scores"] and sum(item["scores"].values()) == pytest.approx(1, abs=1e-4)
        bad = client.post("/v1/classify", json={"model": "bert_classifier", "input": ["a"], "pair": ["b", "c"]})
        assert bad.status_code == 400


def test_models_and_tokens(tiny: Running, tiny_folder: Path) -> None:
    with tiny.client() as client:
        assert [item["id"] for item in client.get("/v1/models").json()["data"]] == ["llama"]
        assert client.get("/v1/models/llama").json()["object"] == "model"
        missing = client.get("/v1/models/lama")
        assert missing.status_code == 404 and "llama" in missing.json()["error"]["message"]
        body = {"model": "llama", "prompt": "你好 quick", "return_token_strs": True}
        found = client.post("/tokenize", json=body).json()
        assert found["count"] == len(found["tokens"]) == len(found["token_strs"]) and found["max_model_len"] == 256
        text = client.post("/detokenize", json={"model": "llama", "tokens": found["tokens"]}).json()["prompt"]
        assert text == "你好 quick"
        assert client.post("/detokenize", json={"model": "llama", "tokens": [10**7]}).status_code == 400
        assert client.post("/tokenize", json={"model": "llama"}).status_code == 400


def test_metrics_count_what_happened(tiny: Running) -> None:
    before = tiny.metric("llmasos_output_tokens_total", model="llama")
    complete(tiny, ignore_eos=True)
    assert tiny.metric("llmasos_output_tokens_total", model="llama") == before + 6
    with tiny.client() as client:
        text = client.get("/metrics").text
    for name in ("llmasos_time_to_first_token_seconds_bucket", "llmasos_requests_running", "llmasos_memory_bytes",
                 "llmasos_cached_tokens_total", "llmasos_http_responses_total"):  # fmt: skip
        assert name in text
