"""The `ollama` package against `llmasos serve` with the real small model."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

ollama = pytest.importorskip("ollama")
pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

MODEL = "smollm2:135m-instruct"
ASK = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY = {"temperature": 0, "num_predict": 16}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own process, which fetches the model when it starts."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("LLMASOS_")}
    variables |= {"LLMASOS_HOME": str(tmp_path_factory.mktemp("home")), "LLMASOS_LANG": "en"}
    process = subprocess.Popen(
        [sys.executable, "-m", "llmasos.cli.app", "serve", MODEL, "--port", "0", "--json", "--access-log", "off"],
        env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    text = ""
    while not text.rstrip().endswith("}"):
        line = process.stdout.readline()
        assert line, process.stderr.read() if process.stderr else ""
        text += line
    yield json.loads(text)["address"]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)


@pytest.fixture
def client(address: str) -> Any:
    return ollama.Client(host=address)


def test_list_show_and_ps(client: Any) -> None:
    assert MODEL in [item.model for item in client.list().models]
    found = client.show(MODEL)
    assert found.capabilities == ["completion", "tools"]
    assert found.modelinfo["llama.context_length"] == 8192
    assert (found.details.family, found.details.parameter_size) == ("llama", "134.5M")
    assert "<|im_start|>" in found.template and "Apache" in found.license
    (running,) = client.ps().models
    assert running.model == MODEL and running.context_length == 8192


def test_generate(client: Any) -> None:
    answer = client.generate(MODEL, "What is the capital of France?", options=GREEDY)
    assert "Paris" in answer.response and answer.done_reason == "stop"
    assert answer.total_duration >= answer.eval_duration > 0 and answer.prompt_eval_duration > 0
    assert answer.eval_count + answer.prompt_eval_count == len(answer.context)
    again = client.generate(MODEL, "And of Italy?", context=answer.context, options=GREEDY)
    assert "Rome" in again.response


def test_chat_and_stream(client: Any) -> None:
    answer = client.chat(MODEL, ASK, options=GREEDY, logprobs=True, top_logprobs=2)
    assert "Paris" in answer.message.content
    assert len(answer.logprobs) == answer.eval_count - 1, "the end of the turn is a token without text"
    parts = list(client.chat(MODEL, ASK, options=GREEDY, stream=True))
    assert "".join(part.message.content for part in parts) == answer.message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].eval_count == answer.eval_count


def test_tools(client: Any) -> None:
    def add(a: int, b: int) -> int:
        """Add two numbers.

        Args:
            a: the first
            b: the second
        """
        return a + b

    def turn(a: int, b: int) -> list[dict[str, Any]]:
        call = {"function": {"name": "add", "arguments": {"a": a, "b": b}}}
        return [
            {"role": "user", "content": f"What is {a} plus {b}?"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_name": "add", "content": str(add(a, b))},
            {"role": "assistant", "content": f"It is {add(a, b)}."},
        ]

    messages = [*turn(1, 2), *turn(20, 30), *turn(7, 8), {"role": "user", "content": "What is 4 plus 5?"}]
    answer = client.chat(MODEL, messages, tools=[add], options={"temperature": 0, "num_predict": 64})
    (call,) = answer.message.tool_calls
    assert call.function.name == "add" and call.function.arguments == {"a": 4, "b": 5}
    parts = list(client.chat(MODEL, messages, tools=[add], options={"temperature": 0, "num_predict": 64}, stream=True))
    streamed = [call for part in parts for call in part.message.tool_calls or ()]
    assert [(item.function.name, item.function.arguments) for item in streamed] == [("add", {"a": 4, "b": 5})]


def test_structured_output(client: Any) -> None:
    schema = {
        "type": "object", "properties": {"city": {"type": "string", "maxLength": 20}, "people": {"type": "integer"}},
        "required": ["city", "people"], "additionalProperties": False,
    }  # fmt: skip
    answer = client.chat(MODEL, ASK, format=schema, options={"temperature": 0, "num_predict": 60})
    assert set(json.loads(answer.message.content)) == {"city", "people"}
    free = client.generate(MODEL, "A city as JSON.", format="json", options={"temperature": 0, "num_predict": 200})
    assert free.done_reason == "length" or isinstance(json.loads(free.response), dict)


def test_errors(client: Any) -> None:
    def refused(**arguments: Any) -> Any:
        with pytest.raises(ollama.ResponseError) as caught:
            client.chat(**{"model": MODEL, "messages": ASK, **arguments})
        return caught.value

    assert refused(model="nothing").status_code == 404
    assert "options.num_gpu is not supported" in refused(options={"num_gpu": 1}).error
    assert "does not think" in refused(think=True).error
    long = refused(messages=[{"role": "user", "content": "word " * 9000}])
    assert long.status_code == 400 and "the context length is 8192" in long.error and "truncate: true" in long.error
    with pytest.raises(ollama.ResponseError, match="images"):
        client.generate(MODEL, "x", images=["aGVsbG8="])
    with pytest.raises(ollama.ResponseError) as caught:
        for _ in client.chat(MODEL, ASK, options={"num_ctx": 4}, stream=True):
            pass
    assert caught.value.status_code == 400


def test_cancellation(client: Any, address: str) -> None:
    async def begin_and_leave() -> None:
        one = ollama.AsyncClient(host=address)
        stream = await one.generate(MODEL, "Count to a million.", options={"num_predict": -1}, stream=True)
        async for part in stream:
            assert not part.done
            break
        await stream.aclose()
        await one.close()

    asyncio.run(begin_and_leave())
    end = time.monotonic() + 10
    while f'llmasos_requests_running{{model="{MODEL}"}} 0.0' not in httpx.get(f"{address}/metrics").text:
        assert time.monotonic() < end, "the request runs on without its client"
        time.sleep(0.05)


def test_many_at_once(client: Any, address: str) -> None:
    async def ask() -> list[str]:
        one = ollama.AsyncClient(host=address)
        answers = await asyncio.gather(*(one.chat(MODEL, ASK, options=GREEDY) for _ in range(8)))
        await one.close()
        return [answer.message.content for answer in answers]

    assert len(set(asyncio.run(ask()))) == 1


def test_create_copy_and_delete(client: Any) -> None:
    steps = list(
        client.create(
            "pirate", from_=MODEL, system="You are a pirate. You end every sentence with Arrr.",
            parameters={"temperature": 0, "num_predict": 12}, stream=True,
        )
    )  # fmt: skip
    assert steps[-1].status == "success"
    answer = client.chat("pirate", [{"role": "user", "content": "Who are you?"}])
    plain = client.chat(MODEL, [{"role": "user", "content": "Who are you?"}], options={"temperature": 0})
    assert answer.message.content != plain.message.content
    assert answer.eval_count <= 12
    assert len(client.ps().models) == 1, "both run on the same weights"
    assert client.copy("pirate", "captain:v1").status == "success"
    assert client.chat("captain:v1", [{"role": "user", "content": "Who are you?"}]).message == answer.message
    for name in ("captain:v1", "pirate"):
        assert client.delete(name).status == "success"
    with pytest.raises(ollama.ResponseError):
        client.delete("pirate")
    with pytest.raises(ollama.ResponseError) as caught:
        client.delete(MODEL)
    assert caught.value.status_code == 409, "the server was started to serve it"


def test_pull_of_what_is_here_and_embeddings(client: Any) -> None:
    assert client.pull("smollm2").status == "success"
    assert "smollm2:latest" in [item.model for item in client.list().models]
    assert client.chat("smollm2", ASK, options=GREEDY).message.content
    with pytest.raises(ollama.ResponseError):
        client.pull("nothing-of-this-name")
    steps = list(client.pull("minilm:l6-v2", stream=True))
    assert steps[-1].status == "success"
    assert any(step.total and step.completed for step in steps)
    texts = ["A cat sits.", "A kitten is sitting.", "The stock market fell."]
    cat, kitten, market = client.embed("minilm:l6-v2", texts).embeddings
    dot = lambda a, b: sum(x * y for x, y in zip(a, b, strict=True))  # noqa: E731
    assert dot(cat, kitten) > 0.6 > 0.3 > dot(cat, market)
    assert len(client.embeddings("minilm:l6-v2", texts[0]).embedding) == 384


def test_a_file_is_sent_and_becomes_a_model(client: Any, tmp_path: Path) -> None:
    from tiny_models import build

    files = {path.name: client.create_blob(path) for path in build("llama", tmp_path / "llama").iterdir()}
    assert client.create("sent", files=files).status == "success"
    assert client.generate("sent", "Hello", options={"num_predict": 3}).eval_count == 3
    assert client.delete("sent").status == "success"
