"""From the items of responses to the messages that templates read, and back."""

from __future__ import annotations

from typing import Any

import pytest

from llmasos.server.openai.responses.conversation import Conversation, kept_items
from llmasos.server.openai.responses.fields import ResponseRequest
from llmasos.server.web.body import InvalidField, check_body

CALL = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city": "Paris"}'}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "rain"}
CALLED = [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Paris"}}}]


def items(value: Any) -> Any:
    return check_body({"model": "m", "input": value}, ResponseRequest, lenient=False).fields.input


def messages(value: Any, earlier: Any = ()) -> Any:
    conversation = Conversation(earlier)
    conversation.add(items(value))
    return conversation.messages


def message(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def test_a_text_is_the_users() -> None:
    assert messages("Hi") == [message("user", "Hi")]


def test_roles_and_parts() -> None:
    parts = [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]
    answer = [{"type": "output_text", "text": "c", "annotations": [], "logprobs": []}]
    refusal = [{"type": "refusal", "refusal": "No."}]
    found = messages([
        message("developer", "Be brief."), message("user", parts), {"type": "message", **message("assistant", answer)},
        message("assistant", refusal), message("system", "x"),
    ])  # fmt: skip
    assert found == [
        message("system", "Be brief."), message("user", "a\nb"), message("assistant", "c"), message("assistant", "No."),
        message("system", "x"),
    ]  # fmt: skip


def test_what_the_assistant_did_in_one_turn_is_one_message() -> None:
    thought = {"type": "reasoning", "id": "rs", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
    summary = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "short"}]}
    other = {**CALL, "call_id": "c2", "name": "time", "arguments": ""}
    found = messages([
        message("user", "Weather?"), thought, message("assistant", "Let me see."), CALL, other, OUTPUT,
        {**OUTPUT, "call_id": "c2", "output": [{"type": "input_text", "text": "noon"}]}, summary,
        message("assistant", "Rain at noon."),
    ])  # fmt: skip
    assert [item["role"] for item in found] == ["user", "assistant", "tool", "tool", "assistant"]
    assert found[1]["content"] == "Let me see." and found[1]["reasoning_content"] == "hm"
    assert found[1]["tool_calls"][:1] == CALLED and found[1]["tool_calls"][1]["function"]["arguments"] == {}
    assert found[2] == {"role": "tool", "tool_call_id": "c1", "name": "weather", "content": "rain"}
    assert found[3]["content"] == "noon" and found[3]["name"] == "time"
    assert found[4] == {**message("assistant", "Rain at noon."), "reasoning_content": "short"}


def test_calls_of_an_earlier_response_can_be_answered() -> None:
    earlier = [message("user", "Weather?"), {**message("assistant", ""), "tool_calls": CALLED}]
    assert messages([OUTPUT], earlier)[-1]["name"] == "weather"
    assert len(earlier) == 2


def test_an_output_goes_on_as_what_was_said() -> None:
    conversation = Conversation([message("user", "Weather?")])
    conversation.add_output([
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "Let me see."}]},
        {**CALL, "id": "fc"}, {**CALL, "call_id": "c2", "arguments": '{"ci'},
    ])  # fmt: skip
    (_, found) = conversation.messages
    assert (found["reasoning_content"], found["content"]) == ("hm", "Let me see.")
    assert [call["function"]["arguments"] for call in found["tool_calls"]] == [{"city": "Paris"}, {}]


def test_instructions_stand_before_and_are_not_kept() -> None:
    conversation = Conversation()
    conversation.add(items([message("system", "Be kind."), message("user", "Hi")]))
    assert conversation.with_instructions("Be brief.") == [
        message("system", "Be brief.\n\nBe kind."), message("user", "Hi"),
    ]  # fmt: skip
    assert conversation.messages[0] == message("system", "Be kind.")
    assert conversation.with_instructions(None) == conversation.messages
    plain = Conversation()
    plain.add("Hi")
    assert plain.with_instructions("Be brief.") == [message("system", "Be brief."), message("user", "Hi")]


@pytest.mark.parametrize(("value", "param", "words"), [
    ([{"type": "item_reference", "id": "x"}], "input[0]", "item_reference"),
    ([message("user", [{"type": "input_image", "image_url": "x"}])], "input[0].content[0]", "input_image"),
    ([{**CALL, "arguments": "[1]"}], "input[0].arguments", "JSON object"),
    ([{**CALL, "arguments": "{"}], "input[0].arguments", "JSON object"),
    ([OUTPUT], "input[0].call_id", "'c1'"),
    ([CALL, {**OUTPUT, "output": [{"type": "input_file"}]}], "input[1].output[0]", "input_file"),
    ([{"type": "reasoning", "summary": [], "encrypted_content": "x"}], "input[0].encrypted_content", "None"),
    ([message("tool", "x")], "input[0].role", "tool"),
    ([{**message("user", "x"), "name": "n"}], "input[0].name", "unknown"),
    ([], "input", "at least 1"), (5, "input", "list"),
])  # fmt: skip
def test_what_is_not_read_is_refused_by_its_name(value: Any, param: str, words: str) -> None:
    with pytest.raises(InvalidField) as caught:
        messages(value)
    assert caught.value.param == param and words in caught.value.message


def test_kept_items_are_whole() -> None:
    kept = kept_items(items([message("user", "Hi"), {**message("assistant", "Ho"), "id": "own"}, CALL, OUTPUT]))
    assert kept[0]["content"] == [{"type": "input_text", "text": "Hi"}]
    assert kept[1]["content"] == [{"type": "output_text", "text": "Ho", "annotations": []}] and kept[1]["id"] == "own"
    assert [item["type"] for item in kept] == ["message", "message", "function_call", "function_call_output"]
    assert all(item["status"] == "completed" for item in kept)
    assert [item["id"].split("_")[0] for item in kept] == ["msg", "own", "fc", "fco"]
    assert kept_items("Hi")[0]["role"] == "user"
