"""Reasoning, words and calls, whatever the pieces are that a text comes in."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos.engine.tool_formats import ToolFormat
from llmasos.server.serving.reading import OutputReader, ReasoningReader

CASES = [
    (False, "<think>\nfirst\nthen\n</think>\n\nHello", "first\nthen", "Hello"),
    (False, "  <think>a</think>b", "a", "b"),
    (False, "Hello <think>x</think>", "", "Hello <think>x</think>"),
    (False, "<thin air", "", "<thin air"),
    (False, "", "", ""),
    (False, "  plain", "", "  plain"),
    (False, "<think>never ends </thi", "never ends </thi", ""),
    (True, "so it is</think>\nYes </think> no", "so it is", "Yes </think> no"),
    (True, "a < b </think> c", "a < b", "c"),
]


def read(begun: bool, parts: list[str]) -> tuple[str, str]:
    reader = OutputReader(reasoning=ReasoningReader(begun=begun), tools=None)
    words = reasoning = ""
    for part in parts:
        said, thought, _ = reader.push(part)
        words, reasoning = words + said, reasoning + thought
    said, thought, _ = reader.finish()
    return reasoning + thought, words + said


@pytest.mark.parametrize(("begun", "text", "reasoning", "words"), CASES)
@given(data=st.data())
def test_reasoning_is_told_apart_from_words(
    begun: bool, text: str, reasoning: str, words: str, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    places = [0, *cuts, len(text)]
    parts = [text[start:end] for start, end in itertools.pairwise(places)]
    assert read(begun, parts) == (reasoning, words)


def test_nothing_is_lost_when_a_call_follows_reasoning() -> None:
    reader = OutputReader(reasoning=ReasoningReader(begun=True), tools=ToolFormat.HERMES)
    text = 'hm</think>Let me see.<tool_call>\n{"name": "now", "arguments": {"zone": "UTC"}}\n</tool_call>'
    said, thought, calls = "", "", []
    for character in text:
        for target in (reader.push(character),):
            said, thought = said + target[0], thought + target[1]
            calls += target[2]
    rest = reader.finish()
    assert (thought + rest[1], said + rest[0]) == ("hm", "Let me see.")
    assert calls[0].name == "now" and "".join(call.arguments for call in calls) == '{"zone": "UTC"}'
    assert reader.calls == 1


def test_a_reader_without_tasks_is_plain() -> None:
    reader = OutputReader(reasoning=None, tools=None)
    assert reader.plain and reader.push("<think>x") == ("<think>x", "", [])
