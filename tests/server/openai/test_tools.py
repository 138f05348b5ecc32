"""Calls of tools, with a template that knows them and with one that does not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.running import Running, running
from tiny_models import change_json

HERMES = (
    "{% if tools %}<|im_start|>system\n<tools>{{ tools | tojson }}</tools> <tool_call></tool_call><|im_end|>\n"
    "{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "{% for call in message.tool_calls or [] %}<tool_call>\n{{ call.function | tojson }}\n</tool_call>{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PLAIN = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "look_up", "description": "Finds things",
        "parameters": {"type": "object", "properties": {"what": {"enum": ["sun", "moon"]}}, "required": ["what"],
                       "additionalProperties": False},
    },
}  # fmt: skip
OTHER: dict[str, Any] = {"type": "function", "function": {"name": "now"}}


@pytest.fixture(scope="module")
def server(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("tools")
    for name, template in (("hermes", HERMES), ("plain", PLAIN)):
        shutil.copytree(tiny_folder, root / name)
        (root / name / "chat_template.jinja").write_text(template, encoding="utf-8")
        change_json(root / name / "config.json", max_position_embeddings=2048)
    models = (str(root / "hermes"), str(root / "plain"))
    with running(tmp_path_factory.mktemp("home"), models=models) as server:
        yield server


def ask(server: Running, model: str, **fields: Any) -> Any:
    body = {
        "model": model, "messages": [{"role": "user", "content": "Where is it?"}], "tools": [TOOL, OTHER],
        "tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 120, "temperature": 1.2, **fields,
    }  # fmt: skip
    with server.client() as client:
        return client.post("/v1/chat/completions", json=body)


@pytest.mark.parametrize("model", ["hermes", "plain"])
def test_required_calls_fit_their_schema(server: Running, model: str) -> None:
    for seed in range(5):
        choice = ask(server, model, seed=seed).json()["choices"][0]
        assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None
        (call,) = choice["message"]["tool_calls"]
        arguments = json.loads(call["function"]["arguments"])
        if call["function"]["name"] == "look_up":
            assert arguments in ({"what": "sun"}, {"what": "moon"})
        else:
            assert call["function"]["name"] == "now" and arguments == {}
        assert call["id"] and call["type"] == "function"


@pytest.mark.parametrize("model", ["hermes", "plain"])
def test_a_named_tool_is_called(server: Running, model: str) -> None:
    named = {"type": "function", "function": {"name": "look_up"}}
    (call,) = ask(server, model, tool_choice=named).json()["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "look_up"


@pytest.mark.parametrize("model", ["hermes", "plain"])
def test_a_stream_has_the_parts_of_the_same_call(server: Running, model: str) -> None:
    whole = ask(server, model, seed=4).json()["choices"][0]["message"]["tool_calls"][0]["function"]
    answer = ask(server, model, seed=4, stream=True)
    events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line and "[DONE]" not in line]
    deltas = [json.loads(text)["choices"][0] for text in events]
    calls = [call for delta in deltas for call in delta["delta"].get("tool_calls", [])]
    assert calls[0]["id"] and calls[0]["function"]["name"] == whole["name"]
    assert "".join(call["function"]["arguments"] for call in calls) == whole["arguments"]
    assert all("id" not in call for call in calls[1:]) and deltas[-1]["finish_reason"] == "tool_calls"
    assert not any(delta["delta"].get("content") for delta in deltas)


def test_none_means_none(server: Running) -> None:
    choice = ask(server, "hermes", tool_choice="none", max_tokens=10).json()["choices"][0]
    assert "tool_calls" not in choice["message"] and choice["finish_reason"] in ("stop", "length")


@pytest.mark.parametrize("model", ["hermes", "plain"])
def test_results_of_tools_go_back_to_the_model(server: Running, model: str) -> None:
    call = {"id": "abcdefghi", "type": "function", "function": {"name": "look_up", "arguments": '{"what": "sun"}'}}
    messages = [
        {"role": "user", "content": "Where?"}, {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "abcdefghi", "content": "up there"},
    ]  # fmt: skip
    answer = ask(server, model, messages=messages, tool_choice="auto", max_tokens=5)
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["prompt_tokens"] > 20  # call and result are in the prompt


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"tools": None}, "needs tools"),
        ({"tool_choice": {"type": "function", "function": {"name": "lookup"}}}, "look_up"),
        ({"tools": [TOOL, TOOL]}, "another tool named look_up"),
        ({"tools": [{"type": "function", "function": {"name": "bad name"}}]}, "bad name"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"response_format": {"type": "json_object"}}, "either tools or an output format"),
        ({"messages": [{"role": "assistant", "content": None, "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "x", "arguments": "{"}}]}]}, "no JSON"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(server: Running, fields: dict[str, Any], reason: str) -> None:
    answer = ask(server, "hermes", **fields)
    assert answer.status_code == 400 and reason in str(answer.json()["error"]), answer.text
