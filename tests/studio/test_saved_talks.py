"""Conversations as files: whole, with all branches, apart for each person."""

from __future__ import annotations

import gc
import json
from dataclasses import replace
from pathlib import Path

import pytest

from llmasos.errors import IntegrityError, NotFound, OutOfDisk, Unsupported
from llmasos.server.serving.job import TokenInfo
from llmasos.studio.talk import exports, store
from llmasos.studio.talk.saved import Side, Talk, from_json, to_json, to_markdown
from llmasos.studio.talk.settings import TalkSettings
from llmasos.studio.talk.store import TalkStore
from llmasos.studio.talk.tree import Conversation

SETTINGS = TalkSettings(
    system="Be brief.",
    top_k=5,
    min_p=0.1,
    repetition_penalty=1.2,
    stop=("END", " x"),
    form="regex",
    source="a+",
    seed=3,
)


def a_talk(store: TalkStore) -> Talk:
    talk = store.new("a:b")
    question = talk.sides[0].conversation.ask("What is\n  the capital of France?")
    answer = question.add("assistant", "Paris <b>")
    answer.model, answer.note, answer.thoughts = "a:b", "3 tokens", "hm"
    answer.tokens = [TokenInfo(1, " P", b" P", -0.5, [TokenInfo(2, "中", None, -1.0)])]
    question.add("assistant", "Rome")
    question.following[0].turn_to(0)
    talk.sides[0].conversation.ask("And?").add("assistant", "")
    talk.sides.append(Side("c+d"))
    talk.settings = SETTINGS
    talk.name_itself()
    return talk


def everything(conversation: Conversation) -> list[tuple[object, ...]]:
    found, waiting = [], [(conversation.root, "")]
    for said, path in waiting:
        tokens = [(token.token_id, token.text, token.logprob, len(token.top)) for token in said.tokens]
        found.append((path, said.role, said.text, said.thoughts, said.model, said.note, said.chosen, tokens))
        waiting += [(item, f"{path}/{place}") for place, item in enumerate(said.following)]
    return found


@pytest.fixture
def talks(tmp_path: Path) -> TalkStore:
    return TalkStore(tmp_path / "conversations" / "owner")


def test_a_saved_talk_is_the_same_again(talks: TalkStore) -> None:
    talk = a_talk(talks)
    talks.save(talk)
    again = from_json(to_json(talk), "x")
    assert (again.id, again.name, again.settings, again.created) == (talk.id, talk.name, SETTINGS, talk.created)
    assert [side.model for side in again.sides] == ["a:b", "c+d"]
    assert everything(again.sides[0].conversation) == everything(talk.sides[0].conversation)
    assert to_json(again) == to_json(talk) and again.sides[1].conversation.path


def test_a_very_long_talk_is_saved(talks: TalkStore) -> None:
    talk = talks.new("m")
    for number in range(3000):
        talk.sides[0].conversation.last.add("user" if number % 2 == 0 else "assistant", str(number))
    assert len(list(from_json(to_json(talk), "x").sides[0].conversation.path())) == 3000


def test_the_name_is_the_first_question(talks: TalkStore) -> None:
    assert a_talk(talks).name == "What is the capital of France?"
    talk = talks.new("m")
    assert talk.is_empty
    talk.name_itself()
    assert talk.name == ""
    talk.sides[0].conversation.ask("word " * 40)
    talk.name_itself()
    assert len(talk.name) <= 60 and talk.name.endswith("…") and not talk.is_empty


def test_talks_are_listed_opened_and_deleted(talks: TalkStore) -> None:
    assert talks.entries() == []
    first, second = a_talk(talks), a_talk(talks)
    second.name, second.changed = "later", first.changed.replace(year=first.changed.year + 1)
    talks.save(first)
    talks.save(second)
    (talks.folder / "notes.json").write_text("not ours")
    assert [entry.name for entry in talks.entries()] == ["later", first.name]
    assert talks.entries()[0].models == ("a:b", "c+d")
    second.name = "renamed"
    talks.save(second)
    assert talks.entries()[0].name == "renamed"
    assert oct(talks.folder.stat().st_mode & 0o777) == "0o700"
    talks.delete(second.id)
    talks.delete(second.id)
    assert [entry.id for entry in talks.entries()] == [first.id]
    with pytest.raises(NotFound, match="there is no conversation"):
        talks.open(second.id)


def test_two_tabs_share_one_talk(talks: TalkStore) -> None:
    talk = a_talk(talks)
    talks.save(talk)
    assert talks.open(talk.id) is talk and TalkStore(talks.folder).open(talk.id) is talk
    identifier = talk.id
    del talk
    gc.collect()
    again = talks.open(identifier)
    assert again.name == "What is the capital of France?"


@pytest.mark.parametrize("identifier", ["../../etc/passwd", "", "..", "0123456789ABCDEF", "0123456789abcdef/../x"])
def test_nothing_but_talks_is_opened(talks: TalkStore, identifier: str) -> None:
    for work in (talks.open, talks.delete):
        with pytest.raises(NotFound):
            work(identifier)


@pytest.mark.parametrize(("change", "error"), [
    ('{"version": 2}', Unsupported), ("", IntegrityError), ("{", IntegrityError), ("[]", IntegrityError),
    ('{"version": 1}', IntegrityError), ('{"version": null}', IntegrityError),
])  # fmt: skip
def test_what_cannot_be_read_is_told_and_listed(talks: TalkStore, change: str, error: type[Exception]) -> None:
    talks.folder.mkdir(parents=True)
    (talks.folder / "0123456789abcdef.json").write_text(change)
    with pytest.raises(error, match=r"0123456789abcdef\.json"):
        talks.open("0123456789abcdef")
    (entry,) = talks.entries()
    assert entry.problem is not None and "0123456789abcdef.json" in entry.problem


def test_damage_within_is_found(talks: TalkStore) -> None:
    whole = json.loads(to_json(a_talk(talks)))
    for change in (
        lambda data: data["sides"][0]["messages"][1].update(before=9), lambda data: data["sides"][0].pop("messages"),
        lambda data: data["sides"][0]["messages"][0].update(chosen=7), lambda data: data.update(created="today"),
        lambda data: data["sides"][0]["messages"][1].update(role="system"),
        lambda data: data["settings"].update(form=1), lambda data: data["sides"][0].update(messages=[]),
        lambda data: data["sides"][0]["messages"][2].update(tokens=[[1]]),
    ):  # fmt: skip
        data = json.loads(json.dumps(whole))
        change(data)
        with pytest.raises(IntegrityError, match="is damaged"):
            from_json(json.dumps(data), "file.json")


def test_settings_of_earlier_files_have_defaults(talks: TalkStore) -> None:
    data = json.loads(to_json(a_talk(talks)))
    del data["settings"]["min_p"]
    assert from_json(json.dumps(data), "x").settings == replace(SETTINGS, min_p=None)


def test_a_failed_save_leaves_the_file_before(talks: TalkStore, monkeypatch: pytest.MonkeyPatch) -> None:
    talk = a_talk(talks)
    talks.save(talk)
    before = (talks.folder / f"{talk.id}.json").read_text()

    def full(path: Path, data: bytes) -> None:
        raise OutOfDisk("full", needed=1, free=0)

    monkeypatch.setattr(store, "write_file", full)
    talk.name = "other"
    with pytest.raises(OutOfDisk):
        talks.save(talk)
    assert [path.name for path in talks.folder.iterdir()] == [f"{talk.id}.json"]
    assert (talks.folder / f"{talk.id}.json").read_text() == before


def test_a_talk_is_read_as_markdown(talks: TalkStore) -> None:
    talk = a_talk(talks)
    text = to_markdown(talk)
    assert text.startswith("# What is the capital of France?\n")
    assert "## a:b" in text and "## c+d" in text and "**You**" in text and "Paris <b>" in text and "Rome" not in text
    assert "**System prompt**" in text
    del talk.sides[1]
    assert "## " not in to_markdown(talk)


def test_file_names_hold_no_path(talks: TalkStore) -> None:
    talk = talks.new("m")
    for name, stem in (("../../a b: c?", "a b c"), ("你好，世界", "你好世界"), ("///", talk.id), ("", talk.id)):
        talk.name = name
        assert exports.file_stem(talk) == stem
