from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from llmasos.cli.chat.session import Session
from llmasos.errors import ContextLengthExceeded, InvalidRequest, Unsupported

Make = Callable[..., Any]


def ask(session: Session, text: str) -> str:
    return "".join(session.reply(text))


def test_the_conversation_is_sent_again_with_every_message(fake_model: Make) -> None:
    model = fake_model()
    session = Session(model, system="be brief")
    assert ask(session, "one") == "echo: one"
    assert ask(session, "two") == "echo: two"
    assert model.prompts[-1] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "echo: one"},
        {"role": "user", "content": "two"},
    ]
    assert session.totals.answers == 2
    assert session.totals.completion_tokens == 4


def test_options_reach_the_model(fake_model: Make) -> None:
    session = Session(fake_model(), options={"temperature": 0.1, "stop": ["END"]})
    assert ask(session, "temperature?") == "temperature=0.1 stop=('END',)"


def test_a_stopped_answer_is_kept_and_the_model_is_stopped(fake_model: Make) -> None:
    model = fake_model()
    session = Session(model)
    reply = session.reply("slowly 50")
    pieces = iter(reply)
    assert next(pieces) == "word0"
    assert next(pieces) == " word1"
    pieces.close()
    assert model.streams_closed == 1
    assert session.messages[-1] == {"role": "assistant", "content": "word0 word1"}
    assert not reply.finished
    assert (session.totals.interrupted, session.totals.completion_tokens) == (1, 2)
    assert session.last_finish == "cancelled"


def test_a_question_without_an_answer_is_not_kept(fake_model: Make) -> None:
    model = fake_model(context_length=3)
    session = Session(model)
    with pytest.raises(ContextLengthExceeded):
        ask(session, "one two three four five")
    assert session.messages == []
    assert ask(session, "one") == "echo: one"


def test_the_oldest_exchanges_are_left_out_and_counted(fake_model: Make) -> None:
    model = fake_model(context_length=20)  # a quarter is kept free for the answer
    session = Session(model, system="s")
    for text in ("a b c d", "e f g h"):
        ask(session, text)
    reply = session.reply("i j k l")
    assert "".join(reply) == "echo: i j k l"
    assert reply.dropped == session.left_out == 2
    assert [message["content"] for message in model.prompts[-1]] == ["s", "e f g h", "echo: e f g h", "i j k l"]
    assert len(session.messages) == 6, "what is left out of the prompt is still there to be saved"
    again = session.reply("m n o p")
    assert "".join(again) == "echo: m n o p"
    assert (again.dropped, session.left_out) == (2, 4)


def test_room_for_the_answer_that_was_asked_for_is_kept(fake_model: Make) -> None:
    session = Session(fake_model(context_length=20), options={"max_tokens": 15})
    ask(session, "a b")
    reply = session.reply("c d")
    list(reply)
    assert reply.dropped == 2


def test_nothing_is_dropped_for_a_message_that_never_fits(fake_model: Make) -> None:
    session = Session(fake_model(context_length=8))
    ask(session, "a b")
    with pytest.raises(ContextLengthExceeded):
        ask(session, " ".join("abcdefghijkl"))
    assert session.left_out == 0
    assert len(session.messages) == 2


def test_a_model_without_a_chat_template_continues_each_text_alone(fake_model: Make) -> None:
    model = fake_model(verbs=("generate",))
    session = Session(model)
    ask(session, "one")
    ask(session, "two")
    assert model.prompts == ["one", "two"]
    with pytest.raises(InvalidRequest, match="no chat template"):
        session.set_system("be brief")


def test_a_model_that_does_not_write_is_refused(fake_model: Make) -> None:
    with pytest.raises(Unsupported, match="it can: embed, tokenize"):
        Session(fake_model(verbs=("embed", "tokenize")))


def test_another_model_gets_the_whole_conversation(fake_model: Make) -> None:
    session = Session(fake_model(context_length=14))
    for text in ("a b c", "d e f"):
        ask(session, text)
    assert session.left_out == 0
    list(session.reply("g h i"))
    assert session.left_out > 0
    larger = fake_model("larger:latest")
    session.use(larger)
    assert ask(session, "turns?") == "turns=7"


def test_clear_keeps_the_system_message_and_options(fake_model: Make) -> None:
    session = Session(fake_model(), system="be brief", options={"temperature": 0.2})
    ask(session, "one")
    session.clear()
    assert session.messages == []
    assert session.totals.answers == 0
    assert session.system == "be brief"
    assert session.options == {"temperature": 0.2}
