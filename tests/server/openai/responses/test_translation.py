"""From the fields of responses to jobs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos.engine.request import Grammar
from llmasos.errors import InvalidRequest
from llmasos.server.openai.responses.conversation import Conversation
from llmasos.server.openai.responses.fields import ResponseRequest
from llmasos.server.openai.responses.translation import job_of
from llmasos.server.serving.job import Job
from llmasos.server.web.body import InvalidField, check_body

TOOL = {"type": "function", "name": "weather", "description": "d", "parameters": {"type": "object"}, "strict": True}
TIME = {"type": "function", "name": "time"}
LOGPROBS = ["message.output_text.logprobs"]


def job(**fields: Any) -> Job:
    document = {"model": "m", "input": "Hi", **fields}
    checked = check_body(document, ResponseRequest, lenient=False).fields
    conversation = Conversation()
    conversation.add(checked.input)
    return job_of(checked, conversation.messages)


def test_sampling() -> None:
    given_ = {"temperature": 0.5, "top_p": 0.9, "seed": 1, "top_k": 4, "min_p": 0.1, "presence_penalty": 1,
              "frequency_penalty": 1, "repetition_penalty": 1.1}  # fmt: skip
    found = job(**given_, stop="END", max_output_tokens=7, priority=3, timeout=2.5)
    options = {name: value for name, value in found.options.items() if value is not None}
    assert options == {**given_, "stop": ["END"], "max_tokens": 7}
    assert (found.priority, found.deadline_seconds) == (3, 2.5)
    assert job(include=LOGPROBS).options["logprobs"] == 0
    assert job(include=LOGPROBS, top_logprobs=3).options["logprobs"] == 3
    assert job(include=["reasoning.encrypted_content"]).options["logprobs"] is None


def test_tools_and_choices() -> None:
    found = job(tools=[TOOL, TIME], parallel_tool_calls=False)
    assert found.tools[0] == {
        "type": "function", "function": {"name": "weather", "description": "d", "parameters": {"type": "object"}},
    }  # fmt: skip
    assert found.tools[1] == {"type": "function", "function": {"name": "time"}}
    assert found.tool_choice == "auto" and not found.parallel_tool_calls
    assert job(tools=[TOOL], tool_choice="required").tool_choice == "required"
    named = job(tools=[TOOL], tool_choice={"type": "function", "name": "weather"})
    assert named.tool_choice == {"type": "function", "function": {"name": "weather"}}
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "time"}]}
    some = job(tools=[TOOL, TIME], tool_choice=allowed)
    assert some.tool_choice == "required" and [tool["function"]["name"] for tool in some.tools] == ["time"]


@pytest.mark.parametrize(("format", "expected"), [
    ({"type": "text"}, None), ({"type": "json_object"}, Grammar("json_schema", {"type": "object"})),
    ({"type": "json_schema", "name": "x", "schema": {"enum": [1]}, "strict": True},
     Grammar("json_schema", {"enum": [1]})),
])  # fmt: skip
def test_formats(format: Any, expected: Any) -> None:
    assert job(text={"format": format}).output_format == expected


@pytest.mark.parametrize(("effort", "thinking"), [("none", False), ("low", True), ("xhigh", True), (None, None)])
def test_effort(effort: str | None, thinking: bool | None) -> None:
    assert job(reasoning={"effort": effort, "summary": "auto"}).thinking is thinking


@pytest.mark.parametrize(("fields", "param", "words"), [
    ({"tools": [{"type": "web_search"}]}, "tools[0].type", "'web_search'"),
    ({"tools": [{**TOOL, "defer_loading": True}]}, "tools[0].defer_loading", "defer_loading"),
    ({"tool_choice": {"type": "web_search_preview"}}, "tool_choice", "web_search_preview"),
    ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto",
                                       "tools": [{"type": "function", "name": "time"}]}},
     "tool_choice.tools[0]", "'time'"),
    ({"tool_choice": "any"}, "tool_choice", "any"),
    ({"top_logprobs": 1}, "top_logprobs", "include"),
    ({"include": ["file_search_call.results"]}, "include[0]", "file_search_call"),
    ({"text": {"format": {"type": "grammar"}}}, "text.format", "grammar"),
    ({"text": {"verbosity": "low"}}, "text.verbosity", "no such setting"),
    ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name", "missing"),
    ({"reasoning": {"summary": "detailed"}}, "reasoning.summary", "detailed"),
    ({"conversation": "c"}, "conversation", "previous_response_id"),
    ({"service_tier": "flex"}, "service_tier", "one"),
    ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation", "True"),
    ({"metadata": {"a": "x" * 513}}, "metadata.a", "512"),
    ({"truncation": "left"}, "truncation", "left"),
    ({"max_tokens": 5}, "max_tokens", "unknown"),
    ({"top_logprobs": 21, "include": LOGPROBS}, "top_logprobs", "20"),
])  # fmt: skip
def test_what_is_not_done_is_refused_by_its_name(fields: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(InvalidField) as caught:
        job(**fields)
    assert caught.value.param == param and words in caught.value.message


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
kinds = st.sampled_from(["message", "function_call", "function_call_output", "reasoning", "web"]) | anything
odd_items = st.fixed_dictionaries({}, optional={
    "type": kinds, "role": st.sampled_from(["user", "assistant"]) | anything, "content": anything,
    "call_id": st.sampled_from(["a", "b"]), "name": st.just("f"), "arguments": st.sampled_from(["{}", "[", ""]),
    "output": anything, "summary": anything,
})  # fmt: skip


@given(st.lists(odd_items, max_size=4) | anything, st.dictionaries(
    st.sampled_from(["tools", "tool_choice", "text", "reasoning", "include", "metadata", "instructions"]), anything,
    max_size=3,
))  # fmt: skip
def test_whatever_comes_is_taken_or_refused(items: Any, fields: dict[str, Any]) -> None:
    try:
        job(input=items, **fields)
    except InvalidRequest as error:
        assert error.message
