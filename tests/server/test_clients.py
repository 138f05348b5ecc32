"""The clients that people use, against a real server with the real small model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from server.running import Running, running

pytestmark = pytest.mark.integration

MODEL = "smollm2:135m-instruct"
EMBEDDER = "minilm:l6-v2"
QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather", "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}},
                       "required": ["city"], "additionalProperties": False},
    },
}  # fmt: skip


class City(BaseModel):
    """What a structured answer holds."""

    name: str = Field(max_length=20)
    population_in_millions: int = Field(ge=0, le=99)


CITY_SCHEMA: dict[str, Any] = {
    "type": "object", "additionalProperties": False, "required": ["name", "population_in_millions"],
    "properties": {"name": {"type": "string", "maxLength": 20}, "population_in_millions": {"type": "integer",
                   "minimum": 0, "maximum": 99}},
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    with running(home, models=(MODEL, EMBEDDER), cache_bytes=2**28, threads=2) as server:
        yield server


def idle(server: Running) -> bool:
    engine = next(item.local.decoder_engine for item in server.service.loaded() if item.name == MODEL)
    assert engine is not None
    stats = engine.stats()
    return stats.running == 0 and stats.waiting == 0


class TestOpenAI:
    @pytest.fixture
    def client(self, server: Running) -> Any:
        import openai

        return openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0)

    def test_chat(self, client: Any) -> None:
        answer = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=20)
        assert answer.choices[0].message.content.strip() and answer.usage.total_tokens > 0
        assert answer.choices[0].finish_reason in ("stop", "length")

    def test_stream(self, client: Any) -> None:
        whole = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=20)
        chunks = list(
            client.chat.completions.create(
                model=MODEL, messages=QUESTION, temperature=0, max_tokens=20, stream=True,
                stream_options={"include_usage": True},
            )
        )  # fmt: skip
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == whole.choices[0].message.content and chunks[-1].usage.total_tokens == whole.usage.total_tokens

    def test_tools(self, client: Any) -> None:
        answer = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Weather in Paris?"}], tools=[WEATHER],
            tool_choice="required", parallel_tool_calls=False, temperature=0, max_tokens=80,
        )  # fmt: skip
        (call,) = answer.choices[0].message.tool_calls
        assert call.function.name == "get_weather" and set(json.loads(call.function.arguments)) == {"city"}
        messages = [
            {"role": "user", "content": "Weather in Paris?"}, answer.choices[0].message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
        ]  # fmt: skip
        after = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER], max_tokens=20)
        assert after.choices[0].message.content or after.choices[0].message.tool_calls

    def test_structured_output(self, client: Any) -> None:
        form = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY_SCHEMA, "strict": True}}
        answer = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Tell me about Paris."}], response_format=form,
            max_tokens=100,
        )  # fmt: skip
        City.model_validate_json(answer.choices[0].message.content)
        parsed = client.chat.completions.parse(
            model=MODEL, messages=[{"role": "user", "content": "Tell me about Rome."}], response_format=City,
            max_tokens=100, temperature=0,
        )  # fmt: skip
        assert isinstance(parsed.choices[0].message.parsed, City)

    def test_embeddings(self, client: Any) -> None:
        answer = client.embeddings.create(model=EMBEDDER, input=["A cat sleeps.", "A kitten naps.", "Stocks fell."])
        cat, kitten, stocks = (item.embedding for item in answer.data)
        product = lambda a, b: sum(x * y for x, y in zip(a, b, strict=True))  # noqa: E731
        assert product(cat, kitten) > product(cat, stocks) + 0.2

    def test_errors(self, client: Any, server: Running) -> None:
        import openai

        with pytest.raises(openai.NotFoundError, match="smollm2"):
            client.chat.completions.create(model="smollm2:135m-instrct", messages=QUESTION)
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "word " * 20_000}])
        assert caught.value.code == "context_length_exceeded"
        with pytest.raises(openai.BadRequestError, match="unknown field"):
            client.chat.completions.create(model=MODEL, messages=QUESTION, extra_body={"temprature": 1})

    def test_cancellation(self, client: Any, server: Running) -> None:
        stream = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Write a very long story."}], stream=True,
            max_tokens=4000, extra_body={"ignore_eos": True},
        )  # fmt: skip
        next(chunk for chunk in stream if chunk.choices[0].delta.content)  # the first chunk comes before any token
        assert not idle(server)
        stream.close()
        server.wait_until(lambda: idle(server), 10)

    def test_models(self, client: Any) -> None:
        assert {MODEL, EMBEDDER} <= {model.id for model in client.models.list()}
        assert client.models.retrieve(MODEL).id == MODEL

    def test_completions_with_logprobs(self, client: Any) -> None:
        answer = client.completions.create(
            model=MODEL, prompt="The capital of France is", echo=True, logprobs=1, max_tokens=1, temperature=0
        )
        logprobs = answer.choices[0].logprobs
        assert "".join(logprobs.tokens) == answer.choices[0].text and logprobs.token_logprobs[0] is None

    def test_many_callers_at_once(self, client: Any) -> None:
        answers: list[str] = []

        def ask() -> None:
            answer = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=16)
            answers.append(answer.choices[0].message.content)

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(answers) == 16 and len(set(answers)) == 1


class TestLiteLLM:
    @pytest.fixture
    def ask(self, server: Running) -> Any:
        import litellm

        def call(**fields: Any) -> Any:
            return litellm.completion(
                model=f"openai/{MODEL}", api_base=f"{server.address}/v1", api_key="none", num_retries=0,
                **{"messages": QUESTION, "max_tokens": 20, "temperature": 0, **fields},
            )  # fmt: skip

        return call

    def test_chat_and_stream(self, ask: Any) -> None:
        whole = ask().choices[0].message.content
        assert whole and "".join(c.choices[0].delta.content or "" for c in ask(stream=True)) == whole

    def test_tools_and_structured_output(self, ask: Any) -> None:
        answer = ask(tools=[WEATHER], tool_choice="required", parallel_tool_calls=False, max_tokens=80)
        assert answer.choices[0].message.tool_calls[0].function.name == "get_weather"
        form = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY_SCHEMA}}
        City.model_validate_json(ask(response_format=form, max_tokens=100).choices[0].message.content)

    def test_embeddings_and_errors(self, ask: Any, server: Running) -> None:
        import litellm

        answer = litellm.embedding(
            model=f"openai/{EMBEDDER}", input=["a"], api_base=f"{server.address}/v1", api_key="none"
        )
        assert len(answer.data[0]["embedding"]) == 384
        with pytest.raises(litellm.ContextWindowExceededError):
            ask(messages=[{"role": "user", "content": "word " * 20_000}])

    def test_cancellation(self, ask: Any, server: Running) -> None:
        stream = ask(stream=True, max_tokens=4000, extra_body={"ignore_eos": True})
        next(chunk for chunk in stream if chunk.choices[0].delta.content)
        assert not idle(server)
        stream.completion_stream.close()
        server.wait_until(lambda: idle(server), 10)


class TestLangChain:
    @pytest.fixture
    def chat(self, server: Running) -> Any:
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(
            model=MODEL, base_url=f"{server.address}/v1", api_key="none", temperature=0, max_tokens=60, max_retries=0
        )

    def test_chat_and_stream(self, chat: Any) -> None:
        whole = chat.invoke("What is the capital of France?").content
        assert whole and "".join(chunk.content for chunk in chat.stream("What is the capital of France?")) == whole

    def test_tools(self, chat: Any) -> None:
        bound = chat.bind_tools([WEATHER], tool_choice="required", parallel_tool_calls=False)
        (call,) = bound.invoke("Weather in Paris?").tool_calls
        assert call["name"] == "get_weather" and set(call["args"]) == {"city"}

    def test_structured_output(self, chat: Any) -> None:
        schema = {"title": "city", "description": "A city.", **CITY_SCHEMA}
        found = chat.with_structured_output(schema, method="json_schema").invoke("Tell me about Paris.")
        City.model_validate(found)

    def test_embeddings_and_errors(self, chat: Any, server: Running) -> None:
        import openai
        from langchain_openai import OpenAIEmbeddings

        embed = OpenAIEmbeddings(
            model=EMBEDDER, base_url=f"{server.address}/v1", api_key="none", check_embedding_ctx_length=False
        )
        assert len(embed.embed_query("a cat")) == 384 and len(embed.embed_documents(["a", "b"])) == 2
        with pytest.raises(openai.BadRequestError):
            chat.invoke("word " * 20_000)

    def test_cancellation(self, chat: Any, server: Running) -> None:
        stream = chat.bind(max_tokens=4000, extra_body={"ignore_eos": True}).stream("Write a long story.")
        next(chunk for chunk in stream if chunk.content)
        assert not idle(server)
        stream.close()
        server.wait_until(lambda: idle(server), 10)


NODE = Path(__file__).parent / "openai_client.mjs"


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with OpenAI's package for JavaScript."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("node")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), "openai@6"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return folder


def test_openai_for_javascript(server: Running, node_modules: Path) -> None:
    script = node_modules / NODE.name
    shutil.copy(NODE, script)
    done = subprocess.run(
        ["node", str(script)], capture_output=True, text=True, timeout=120,
        env={**os.environ, "ADDRESS": server.address, "MODEL": MODEL, "EMBEDDER": EMBEDDER},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout) == [
        "chat", "stream", "tools", "structured output", "embeddings", "errors", "cancellation",
    ]  # fmt: skip
    time.sleep(0.1)
    server.wait_until(lambda: idle(server), 10)
