"""From Anthropic's fields to jobs: what templates are shown, and what is refused by which name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos.engine.request import Grammar
from llmasos.errors import InvalidRequest
from llmasos.server.anthropic.fields import MessagesRequest
from llmasos.server.anthropic.translation import job_of
from llmasos.server.serving.job import Job
from llmasos.server.web.body import InvalidField, check_body

TOOL = {"name": "weather", "description": "Of a city", "input_schema": {"type": "object", "properties": {}}}
USE = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Paris"}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "rain"}


def job(messages: Any = "Hi", **fields: Any) -> Job:
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    document = {"model": "m", "max_tokens": 10, "messages": messages, **fields}
    return job_of(check_body(document, MessagesRequest, lenient=False).fields)


def refused(*args: Any, **fields: Any) -> InvalidField:
    with pytest.raises(InvalidField) as caught:
        job(*args, **fields)
    return caught.value


def text(value: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **more}


def test_system_and_blocks_become_texts() -> None:
    found = job([{"role": "user", "content": [text("a"), text("b", cache_control={"type": "ephemeral", "ttl": "1h"})]}],
                system=[text("Be brief."), text("Be kind.", citations=None)])  # fmt: skip
    assert found.messages == [
        {"role": "system", "content": "Be brief.\nBe kind."}, {"role": "user", "content": "a\nb"},
    ]  # fmt: skip
    assert job(system="").messages == [{"role": "user", "content": "Hi"}]


def test_neighbours_of_the_same_role_are_one_message() -> None:
    found = job([
        {"role": "user", "content": "a"}, {"role": "user", "content": [text("b")]},
        {"role": "assistant", "content": "c"}, {"role": "assistant", "content": [text("d"), USE]},
        {"role": "user", "content": [RESULT, text("e")]}, {"role": "user", "content": "f"},
    ])  # fmt: skip
    assert found.messages is not None
    assert [(message["role"], message["content"]) for message in found.messages] == [
        ("user", "a\nb"), ("assistant", "cd"), ("tool", "rain"), ("user", "e\nf"),
    ]  # fmt: skip
    assert found.messages[1]["tool_calls"] == [
        {"id": "t1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Paris"}}}
    ]
    assert found.messages[2] == {"role": "tool", "tool_call_id": "t1", "name": "weather", "content": "rain"}


def test_results_of_tools_may_be_blocks_and_errors() -> None:
    blocks = {**RESULT, "content": [text("a"), text("b")], "is_error": True}
    found = job([{"role": "assistant", "content": [USE]}, {"role": "user", "content": [blocks]}])
    assert found.messages is not None and found.messages[-1]["content"] == "Error: a\nb"


def test_thinking_goes_back_to_the_template() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "x"}
    found = job([{"role": "assistant", "content": [thought, text("So.")]}, {"role": "user", "content": "Go on"}])
    assert found.messages is not None
    assert found.messages[0] == {"role": "assistant", "content": "So.", "reasoning_content": "hm"}


def test_an_answer_that_was_begun_is_continued() -> None:
    begun = job([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "I am"}])
    assert begun.continue_last and begun.messages is not None and begun.messages[-1]["content"] == "I am"
    assert not job().continue_last
    user = {"role": "user", "content": "Hi"}
    thought = {"type": "thinking", "thinking": "hm"}
    assert "no results" in refused([user, {"role": "assistant", "content": [USE]}]).message
    assert "cannot be continued" in refused([user, {"role": "assistant", "content": [thought]}]).message


def test_tools_and_choices() -> None:
    found = job(tools=[TOOL, {**TOOL, "name": "other", "type": "custom"}])
    assert found.tools[0] == {
        "type": "function",
        "function": {"name": "weather", "description": "Of a city", "parameters": TOOL["input_schema"]},
    }
    assert [tool["function"]["name"] for tool in found.tools] == ["weather", "other"]
    assert found.tool_choice == "auto" and found.parallel_tool_calls
    named = {"type": "function", "function": {"name": "weather"}}
    for choice, expected in [("auto", "auto"), ("any", "required"), ("none", "none")]:
        assert job(tools=[TOOL], tool_choice={"type": choice}).tool_choice == expected
    alone = job(tools=[TOOL], tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True})
    assert alone.tool_choice == named and not alone.parallel_tool_calls
    assert refused(tools=[TOOL], tool_choice={"type": "tool"}).param == "tool_choice.name"
    assert refused(tools=[TOOL], tool_choice={"type": "any", "name": "weather"}).param == "tool_choice.name"


def test_sampling_and_formats() -> None:
    schema = {"type": "object"}
    found = job(temperature=0.5, top_p=0.9, top_k=3, stop_sequences=["END"], seed=1, truncate="left", timeout=5,
                priority=2, output_config={"format": {"type": "json_schema", "schema": schema}})  # fmt: skip
    assert found.options == {
        "max_tokens": 10, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "stop": ["END"], "seed": 1,
    }  # fmt: skip
    assert found.output_format == Grammar("json_schema", schema)
    assert (found.truncate, found.deadline_seconds, found.priority) == ("left", 5, 2)


@pytest.mark.parametrize(("thinking", "expected"), [
    (None, None), ({"type": "disabled"}, False), ({"type": "adaptive", "display": "omitted"}, None),
    ({"type": "enabled", "budget_tokens": 9}, True),
])  # fmt: skip
def test_thinking(thinking: Any, expected: bool | None) -> None:
    assert job(thinking=thinking).thinking is expected


@pytest.mark.parametrize("thinking", [
    {"type": "enabled"}, {"type": "enabled", "budget_tokens": 10}, {"type": "disabled", "budget_tokens": 1},
])  # fmt: skip
def test_a_budget_fits(thinking: Any) -> None:
    assert refused(thinking=thinking).param == "thinking.budget_tokens"


@pytest.mark.parametrize(("fields", "param", "words"), [
    ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "messages[0].content[0]",
     "'image'"),
    ({"messages": [{"role": "user", "content": [text("x"), {"type": "document"}]}]}, "messages[0].content[1]",
     "'document'"),
    ({"messages": [{"role": "user", "content": [USE]}]}, "messages[0].content[0]", "role user"),
    ({"messages": [{"role": "assistant", "content": [RESULT]}]}, "messages[0].content[0]", "role assistant"),
    ({"messages": [{"role": "user", "content": [RESULT]}]}, "messages[0].content[0].tool_use_id", "'t1'"),
    ({"messages": [{"role": "user", "content": [{"type": "server_tool_use"}]}]}, "messages[0].content[0]",
     "server_tool_use"),
    ({"messages": [{"role": "assistant", "content": [USE]},
                   {"role": "user", "content": [{**RESULT, "content": [{"type": "image"}]}]}]},
     "messages[1].content[0].content[0]", "'image'"),
    ({"system": [{"type": "image"}]}, "system[0]", "'image'"),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type", "web_search_20250305"),
    ({"tools": [{**TOOL, "input_examples": []}]}, "tools[0].input_examples", "input_examples"),
    ({"container": "c"}, "container", "runs no code"),
    ({"output_config": {"effort": "low"}}, "output_config.effort", "thinking"),
    ({"max_token": 5}, "max_token", "max_tokens"),
    ({"max_tokens": 0}, "max_tokens", "greater"),
    ({"stop_sequences": [""]}, "stop_sequences[0]", "at least 1"),
    ({"messages": []}, "messages", "at least 1"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "5"),
    ({"messages": [{"role": "user", "content": [text("x", txt=1)]}]}, "messages[0].content[0].txt", "unknown"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role", "tool"),
    ({"messages": [{"role": "user", "content": [text("x", citations=[{}])]}]}, "messages[0].content[0].citations",
     "at most 0"),
])  # fmt: skip
def test_what_is_not_done_is_refused_by_its_name(fields: dict[str, Any], param: str, words: str) -> None:
    error = refused(**fields)
    assert error.param == param and words in error.message


def test_max_tokens_is_needed() -> None:
    with pytest.raises(InvalidField, match="max_tokens is missing"):
        check_body({"model": "m", "messages": [{"role": "user", "content": "x"}]}, MessagesRequest, lenient=False)


def test_a_lenient_server_says_what_it_left_out() -> None:
    document = {
        "model": "m", "max_tokens": 1, "container": "c", "nonsense": 1,
        "messages": [{"role": "user", "content": [text("x", txt=1)]}],
    }  # fmt: skip
    received = check_body(document, MessagesRequest, lenient=True)
    assert set(received.ignored) == {"container", "nonsense", "messages[0].content[0].txt"}
    assert job_of(received.fields).messages == [{"role": "user", "content": "x"}]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
kinds = st.sampled_from(["text", "tool_use", "tool_result", "thinking", "image", ""]) | anything
blocks = st.fixed_dictionaries(
    {"type": kinds},
    optional={
        "text": anything, "id": anything, "name": anything, "input": anything, "thinking": anything,
        "tool_use_id": anything, "content": anything,
    },
)  # fmt: skip
odd_messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system"]) | anything, "content": st.lists(blocks, max_size=3)}
)


@given(st.lists(odd_messages, min_size=1, max_size=4), st.dictionaries(
    st.sampled_from(["system", "tools", "tool_choice", "thinking", "output_config", "metadata", "stop_sequences"]),
    anything, max_size=3,
))  # fmt: skip
def test_whatever_comes_is_taken_or_refused(messages: Any, fields: dict[str, Any]) -> None:
    try:
        job(messages, **fields)
    except InvalidRequest as error:
        assert error.message
