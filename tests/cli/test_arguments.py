from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from llmasos.cli.chat.arguments import joined_prompt, model_and_prompt, piped_text
from llmasos.errors import InvalidRequest, NotFound

NAMES = ["smollm2:135m-instruct", "mine/sst2:v3", "tiny:latest"]


def read(*words: str, model: str | None = None, prompt: str | None = None) -> tuple[str, str | None]:
    return model_and_prompt(words, model=model, prompt=prompt, default_model="standard:1", known=lambda: NAMES)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ("standard:1", None)),
        (("tiny:latest",), ("tiny:latest", None)),
        (("tiny",), ("tiny", None)),
        (("smollm2",), ("smollm2", None)),
        (("hf:org/Repo",), ("hf:org/Repo", None)),
        (("./folder",), ("./folder", None)),
        (("google/flan-t5-xl",), ("google/flan-t5-xl", None)),
        (("Qwen/Qwen3-0.6B",), ("Qwen/Qwen3-0.6B", None)),
        (("mine/sst2:v4",), ("mine/sst2:v4", None)),
        (("tiny@sha256:00",), ("tiny@sha256:00", None)),
        (("Write a haiku.",), ("standard:1", "Write a haiku.")),
        (("你好",), ("standard:1", "你好")),
        (("Hi",), ("standard:1", "Hi")),
        (("",), ("standard:1", "")),
        (("tiny", "Hi"), ("tiny", "Hi")),
        (("anything", "tiny"), ("anything", "tiny")),
    ],
)
def test_words(words: tuple[str, ...], expected: tuple[str, str | None]) -> None:
    assert read(*words) == expected


def test_a_folder_with_a_model_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Hi").mkdir()
    assert read("Hi") == ("standard:1", "Hi")
    (tmp_path / "Hi" / "config.json").touch()
    assert read("Hi") == ("Hi", None)


@pytest.mark.parametrize("word", ["tinny", "smollm2:135m-instuct", "thing:8b"])
def test_what_looks_like_a_model_is_not_sent_as_a_prompt(word: str) -> None:
    with pytest.raises(NotFound) as caught:
        read(word)
    assert f"--prompt '{word}'" in (caught.value.hint or "")


def test_options_say_which_is_which() -> None:
    assert read("tiny", model="other") == ("other", "tiny")
    assert read("anything at all", prompt="Hi") == ("anything at all", "Hi")
    assert read("tiny", prompt="Hi") == ("tiny", "Hi")
    assert read(model="other", prompt="tiny") == ("other", "tiny")
    assert read(prompt="tiny") == ("standard:1", "tiny")


@pytest.mark.parametrize("arguments", [{"model": "m"}, {"prompt": "p"}, {"model": "m", "prompt": "p"}])
def test_too_many(arguments: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest, match="a model and a prompt"):
        read("tiny", "Hi", **arguments)


def pipe(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_piped_text(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, "première\nsecond\n".encode())
    assert piped_text() == "première\nsecond\n"
    pipe(monkeypatch, b" \n")
    assert piped_text() is None
    pipe(monkeypatch, b"\xff\xfe\x00")
    with pytest.raises(InvalidRequest, match="byte 0 is 0xff"):
        piped_text()


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_terminal_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, follower = os.openpty()
    with os.fdopen(follower) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        assert piped_text() is None
    os.close(leader)


def test_prompt_and_pipe_are_joined() -> None:
    assert joined_prompt("Summarise:", "text\n") == "Summarise:\n\ntext"
    assert joined_prompt(None, "text\n") == "text"
    assert joined_prompt("Hi", None) == "Hi"
    assert joined_prompt(None, None) is None
    assert joined_prompt("  ", None) is None
