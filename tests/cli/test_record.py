from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmasos.cli.chat import record
from llmasos.cli.chat.session import Session
from llmasos.errors import InvalidRequest, NotFound

Make = Callable[..., Any]


@pytest.fixture
def session(fake_model: Make) -> Session:
    session = Session(fake_model(), system="简短", options={"temperature": 0.5, "stop": ["a", "b"]})
    list(session.reply("你好 world"))
    return session


def test_what_is_saved_comes_back(session: Session, fake_model: Make, home: Path) -> None:
    path = record.save(session, "notes")
    assert path == home / "conversations" / "notes.json"
    assert record.saved_names() == ["notes"]
    other = Session(fake_model())
    record.restore(other, record.load("notes"))
    assert other.messages == session.messages
    assert other.system == "简短"
    assert other.options == session.options
    assert other.created == session.created


def test_the_file_is_readable_json_of_its_owner_alone(session: Session, tmp_path: Path) -> None:
    path = record.save(session, str(tmp_path / "talk.json"))
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["format"] == "llmasos.conversation/1"
    assert content["model"] == "fake:latest"
    assert content["messages"][0] == {"role": "user", "content": "你好 world"}
    assert "你好" in path.read_text(encoding="utf-8"), "text is readable, not escaped"
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_saving_replaces_the_file_whole_and_leaves_nothing_behind(session: Session, home: Path) -> None:
    record.save(session, "notes")
    before = (home / "conversations" / "notes.json").read_bytes()
    session.options["broken"] = object()
    with pytest.raises(Exception, match=r"[Ss]erializ"):
        record.save(session, "notes")
    assert (home / "conversations" / "notes.json").read_bytes() == before
    assert [path.name for path in (home / "conversations").iterdir()] == ["notes.json"]


def test_nothing_to_save(fake_model: Make) -> None:
    with pytest.raises(InvalidRequest, match="nothing to save"):
        record.save(Session(fake_model()), "notes")


@pytest.mark.parametrize("name", ["", "  ", ".", ".."])
def test_names_that_are_none(session: Session, name: str) -> None:
    with pytest.raises(InvalidRequest, match="needs a name"):
        record.save(session, name)


def test_an_unknown_conversation_suggests(session: Session) -> None:
    record.save(session, "holiday")
    with pytest.raises(NotFound, match="holliday") as caught:
        record.load("holliday")
    assert caught.value.hint == "did you mean holiday?"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "json"),
        ("{}", "model"),
        ('{"format": "other/9", "model": "m", "created": "2026-01-01T00:00:00Z", "saved": "2026-01-01T00:00:00Z", '
         '"messages": []}', "format"),
        ('{"model": "m", "created": "2026-01-01T00:00:00Z", "saved": "2026-01-01T00:00:00Z", '
         '"messages": [{"role": "tool", "content": "x"}]}', "messages.0.role"),
        ('{"model": "m", "created": "2026-01-01T00:00:00Z", "saved": "2026-01-01T00:00:00Z", "messages": [], '
         '"sytem": "x"}', "did you mean system"),
    ],
)  # fmt: skip
def test_damaged_files_are_explained(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "talk.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidRequest, match="is not a saved conversation") as caught:
        record.load(str(path))
    assert problem.lower() in caught.value.message.lower()


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidRequest, match="is not a saved conversation"):
        record.load(str(path))
