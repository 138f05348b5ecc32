from __future__ import annotations

import io
import json
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import pytest
from pydantic import BaseModel

from llmasos.cli.output import Column, Output
from llmasos.errors import InvalidRequest


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Item:
    name: str
    size: int


class Row(BaseModel):
    when: datetime


def test_the_machine_view_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(json=True)
    out.print("not here")
    out.table(["A"], [["not here"]])
    out.facts([("not", "here")])
    out.note("a note")
    out.result(
        {
            "item": Item("名称", 3),
            "row": Row(when=datetime(2026, 1, 2, tzinfo=UTC)),
            "path": Path("a/b"),
            "set": {"b", "a"},
            "colour": Colour.RED,
        },
        lambda: out.print("not here"),
    )
    written = capsys.readouterr()
    assert json.loads(written.out) == {
        "item": {"name": "名称", "size": 3},
        "row": {"when": "2026-01-02T00:00:00Z"},
        "path": "a/b",
        "set": ["a", "b"],
        "colour": "red",
    }
    assert "名称" in written.out
    assert written.err == "a note\n"


def test_what_has_no_json_form_is_an_error() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        Output(json=True).result({"x": object()}, lambda: None)


def test_the_human_view(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output()
    out.result({"x": 1}, lambda: out.print("one [bold]thing[/bold]"))
    assert capsys.readouterr().out == "one [bold]thing[/bold]\n"


def test_tables_are_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    Output().table(["Name", Column("Count", right=True)], [[long, 5], ["b", None], ["", 12345]], title="Things")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Things"
    assert lines[2] == f"{long}       5"
    assert lines[3].endswith("    -")
    assert lines[4].startswith("- ")


def test_facts(capsys: pytest.CaptureFixture[str]) -> None:
    Output().facts([("名称", "a"), ("size", "b")], width=10)
    assert capsys.readouterr().out == "  名称      a\n  size      b\n"


def test_nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(InvalidRequest, match="no terminal to ask on: Go on") as caught:
        Output().confirm("Go on?", flag="--yes")
    assert caught.value.hint == "Pass --yes to answer yes."


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("typed", "answer"), [("y", True), ("YES", True), ("是", True), ("", False), ("n", False)])
def test_a_question_on_a_terminal(typed: str, answer: bool) -> None:
    pexpect = pytest.importorskip("pexpect")
    code = "from llmasos.cli.output import Output; print('answer:', Output().confirm('Go on?'))"
    process = pexpect.spawn(sys.executable, ["-c", code], encoding="utf-8", timeout=20)
    process.expect(r"Go on\? \[y/N\] ")
    process.sendline(typed)
    process.expect(f"answer: {answer}")
