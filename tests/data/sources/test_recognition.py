from __future__ import annotations

from typing import Any

import pytest

from llmasos.data.row import Message, Messages, Parallel, Preference, PromptCompletion, UnpairedPreference
from llmasos.data.sources.layout import LabelLayout, MessagesLayout, PreferenceLayout, PromptCompletionLayout
from llmasos.data.sources.recognition import recognise
from llmasos.data.step import Rejection

USER, ANSWER = Message("user", "q"), Message("assistant", "a")
CASES: list[tuple[dict[str, Any], str, object]] = [
    ({"instruction": "q", "input": "", "output": "a"}, "alpaca", PromptCompletion("q", "a")),
    ({"instruction": "q", "input": "c", "output": "a"}, "alpaca", PromptCompletion("q\n\nc", "a")),
    ({"instruction": "q", "output": "a", "system": "s"}, "alpaca", PromptCompletion("q", "a", "s")),
    (
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        "ShareGPT",
        Messages((USER, ANSWER)),
    ),
    (
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 0}]},
        "OpenAI messages",
        Messages((USER, Message("assistant", "a", train=False))),
    ),
    ({"dialogue": ["q", "a"]}, "dialogue turns", Messages((USER, ANSWER))),
    ({"dialogue": [["q", "a"], ["q", "a"]]}, "dialogue turns", Messages((USER, ANSWER, USER, ANSWER))),
    ({"dialogue": [["q", "a"], ["q", ""]]}, "dialogue turns", Messages((USER, ANSWER, USER))),
    ({"prompt": "q", "completion": "a"}, "prompt and completion", PromptCompletion("q", "a")),
    ({"question": "q", "answer": "a"}, "prompt and completion", PromptCompletion("q", "a")),
    (
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        "preference pairs",
        Preference((USER,), (ANSWER,), (Message("assistant", "b"),)),
    ),
    (
        {"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "a"},
         "rejected": {"from": "gpt", "value": "b"}},
        "preference pairs",
        Preference((USER,), (ANSWER,), (Message("assistant", "b"),)),
    ),
    (
        {"chosen": [USER.as_json(), ANSWER.as_json()],
         "rejected": [USER.as_json(), {"role": "assistant", "content": "b"}]},
        "preference pairs",
        Preference((USER,), (ANSWER,), (Message("assistant", "b"),)),
    ),
    ({"prompt": "q", "completion": "a", "label": True}, "KTO", UnpairedPreference((USER,), (ANSWER,), True)),
    (
        {"messages": [USER.as_json(), ANSWER.as_json()], "label": False},
        "KTO",
        UnpairedPreference((USER,), (ANSWER,), False),
    ),
    ({"sentence": "s", "label": "1"}, "classification", None),
    ({"premise": "s", "hypothesis": "t", "label": 2}, "classification of pairs", None),
    ({"translation": {"en": "hello", "zh": "你好"}}, "parallel text", Parallel("hello", "你好", "en", "zh")),
    ({"en": "hello", "zh": "你好", "licence": "x"}, "parallel text", Parallel("hello", "你好", "en", "zh")),
    ({"source": ["One.", "Two."], "target": ["Short."], "id": "3"}, "parallel text", Parallel("One. Two.", "Short.")),
    ({"text": "t", "url": "u"}, "plain text", None),
]  # fmt: skip


@pytest.mark.parametrize(("record", "name", "sample"), CASES)
def test_layouts_are_recognised(record: dict[str, Any], name: str, sample: object) -> None:
    found = recognise([record] * 3)
    assert found is not None
    assert found.name == name
    made = found.layout.apply(record)
    assert not isinstance(made, Rejection)
    assert sample is None or made == sample


def test_what_is_not_known_is_not_guessed() -> None:
    assert recognise([]) is None
    assert recognise([{"foo": "x", "bar": "y"}]) is None
    assert recognise([{"messages": [{"speaker": "A", "says": "x"}]}]) is None


def test_names_of_classes_are_used() -> None:
    found = recognise([{"text": "t", "label": 1}], class_names={"label": ("bad", "good")})
    assert found is not None
    sample = found.layout.apply({"text": "t", "label": 1})
    assert not isinstance(sample, Rejection)
    assert sample.as_json()["label"] == "good"


def test_function_calls_of_sharegpt() -> None:
    record = {
        "conversations": [
            {"from": "human", "value": "q"},
            {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
            {"from": "observation", "value": "1"},
            {"from": "gpt", "value": "a"},
        ],
        "tools": '[{"name": "f"}]',
    }
    found = recognise([record])
    assert found is not None
    sample = found.layout.apply(record)
    assert isinstance(sample, Messages)
    assert [message.role for message in sample.messages] == ["user", "assistant", "tool", "assistant"]
    assert sample.messages[1].extra["tool_calls"][0]["function"] == {"name": "f", "arguments": {"x": 1}}
    assert sample.tools == ({"name": "f"},)


@pytest.mark.parametrize(
    ("layout", "record", "reason"),
    [
        (PromptCompletionLayout(), {"prompt": "p"}, "missing_field"),
        (PromptCompletionLayout(), {"prompt": "p", "completion": None}, "missing_field"),
        (PromptCompletionLayout(), {"prompt": "p", "completion": {"a": 1}}, "not_text"),
        (MessagesLayout(), {"messages": [{"role": "robot", "content": "x"}]}, "malformed_messages"),
        (MessagesLayout(), {"messages": []}, "malformed_messages"),
        (MessagesLayout(), {"messages": [{"role": "user", "content": 3}]}, "malformed_messages"),
        (PreferenceLayout(prompt=None), {"chosen": "a", "rejected": "b"}, "malformed_messages"),
        (LabelLayout(names=("a", "b")), {"text": "t", "label": 2}, "not_text"),
    ],
)
def test_records_that_do_not_fit_say_why(layout: Any, record: dict[str, Any], reason: str) -> None:
    rejection = layout.apply(record)
    assert isinstance(rejection, Rejection)
    assert rejection.reason == reason
    assert rejection.detail


def test_templates_and_paths() -> None:
    layout = PromptCompletionLayout(prompt="Translate: {t.en}", completion="t.zh.0")
    assert layout.apply({"t": {"en": "hi", "zh": ["你好"]}}) == PromptCompletion("Translate: hi", "你好")
    assert layout.columns() >= {"t"}
