"""Conversations as trees, as requests and as code."""

from __future__ import annotations

import json
import shlex

import pytest

from llmasos.engine.request import Grammar
from llmasos.errors import InvalidRequest
from llmasos.server.openai.chat import ChatRequest, job_of
from llmasos.server.serving.job import TokenInfo
from llmasos.studio.talk import code
from llmasos.studio.talk.column import with_probabilities
from llmasos.studio.talk.settings import TalkSettings
from llmasos.studio.talk.tree import Conversation


def shown(conversation: Conversation) -> list[str]:
    return [said.text for said in conversation.path()]


def test_a_conversation_has_branches_and_loses_nothing() -> None:
    talk = Conversation()
    first = talk.ask("a")
    first.add("assistant", "b")
    second = talk.ask("c")
    second.add("assistant", "d")
    assert shown(talk) == ["a", "b", "c", "d"]
    second.add("assistant", "e")
    assert shown(talk) == ["a", "b", "c", "e"] and talk.last.place == (1, 2)
    assert first.before is not None
    edited = first.before.add("user", "A")
    assert shown(talk) == ["A"] and edited.place == (1, 2)
    assert talk.messages_to(edited) == [{"role": "user", "content": "A"}]
    edited.turn_to(0)
    assert shown(talk) == ["a", "b", "c", "e"]
    assert [message["content"] for message in talk.messages_to(second)] == ["a", "b", "c"]
    talk.last.remove()
    assert shown(talk) == ["a", "b", "c", "d"]


def test_a_question_without_an_answer_is_asked_anew() -> None:
    talk = Conversation()
    talk.ask("a").add("assistant", "b")
    talk.ask("lost")
    again = talk.ask("c")
    assert shown(talk) == ["a", "b", "c"] and again.place == (1, 2)
    assert [message["role"] for message in talk.messages_to(again)] == ["user", "assistant", "user"]


SAID = [{"role": "user", "content": 'It\'s "quoted" 中文 $HOME\n<b>'}]
EVERY = [
    TalkSettings(), TalkSettings(system=" Be brief. ", temperature=0.0, top_p=0.9, max_tokens=7, seed=3),
    TalkSettings(form="json"), TalkSettings(form="json_schema", source='{"type": "object"}'),
    TalkSettings(form="regex", source="[a-z]'+"), TalkSettings(probabilities=True),
    TalkSettings(top_k=5, min_p=0.1, typical_p=0.9, repetition_penalty=1.1),
    TalkSettings(presence_penalty=0.2, frequency_penalty=-0.1),
    TalkSettings(stop=("END", "\n\n"), top_k=0),
]  # fmt: skip


@pytest.mark.parametrize("settings", EVERY)
def test_the_code_asks_for_what_the_page_asks_for(settings: TalkSettings) -> None:
    fields = code.body("m", SAID, settings)
    there, here = job_of(ChatRequest.model_validate(fields)), settings.job("m", SAID)
    assert there.output_format == here.output_format and list(there.messages or []) == list(here.messages or [])
    given = {name: value for name, value in there.options.items() if value is not None}
    assert given == dict(here.options)


@pytest.mark.parametrize("settings", EVERY)
def test_the_programs_say_the_same(settings: TalkSettings) -> None:
    fields = code.body("m", SAID, settings)
    words = shlex.split(code.curl("http://x", "m", SAID, settings))
    assert words[:2] == ["curl", "http://x/v1/chat/completions"] and json.loads(words[-1]) == fields
    compile(code.python("http://x", "m", SAID, settings), "program", "exec")
    script = code.javascript("http://x", "m", SAID, settings)
    assert json.loads(script.partition("create(")[2].partition(");\n")[0]) == fields


@pytest.mark.parametrize(("settings", "message"), [
    (TalkSettings(form="json_schema", source="{"), "line 1, column 2"), (TalkSettings(form="json_schema"), "not JSON"),
    (TalkSettings(form="json_schema", source="[]"), "not a JSON object"), (TalkSettings(form="regex"), "no pattern"),
])  # fmt: skip
def test_what_cannot_be_asked_for_is_refused(settings: TalkSettings, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        settings.grammar()


def test_a_pattern_is_a_grammar() -> None:
    assert TalkSettings(form="regex", source="a+").grammar() == Grammar("regex", "a+")


def test_tokens_are_text_in_the_page() -> None:
    other = TokenInfo(1, "\"'&", None, -2.0)
    html = with_probabilities([TokenInfo(0, "<b onclick='x'>", None, 0.0, [other]), TokenInfo(2, " y", None, -1.0)])
    assert "<b" not in html and html.count("<span") == 2 and "&lt;b onclick=" in html
    assert '--shade: 0.0"' in html and '--shade: 0.35"' in html
