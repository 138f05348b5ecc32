from __future__ import annotations

from pathlib import Path

import pytest

from evaluation_cases import choice_task
from llmasos.errors import InvalidRecipe, NotFound
from llmasos.evaluation.task import TASKS
from llmasos.evaluation.tasks.find import builtin_names, builtin_tasks, find, load

TASK = """\
name: t
kind: choice
data:
  splits: {test: rows.jsonl}
prompt: "{{q}}"
choices: [a, b]
answer: a
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "t.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_by_name_and_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "arc-challenge" in builtin_names()
    assert find("arc-challenge").task.name == "arc-challenge"
    path = write(tmp_path, TASK)
    monkeypatch.chdir(tmp_path)
    for name in (path, str(path), "t.yaml", "./t.yaml"):
        found = find(name)
        assert (found.task.name, found.folder) == ("t", tmp_path)


def test_every_builtin_task_is_named_as_its_file() -> None:
    assert [found.task.name for found in builtin_tasks()] == builtin_names()
    assert {found.task.kind for found in builtin_tasks()} == set(TASKS)


def test_an_unknown_task(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no task arc-chalenge") as caught:
        find("arc-chalenge")
    assert "did you mean arc-challenge" in str(caught.value.hint)
    with pytest.raises(NotFound) as other:
        find("zzzzz")
    assert "--list" in str(other.value.hint)
    with pytest.raises(NotFound, match="no file"):
        find(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("choices:", "choises:"), r"t\.yaml:6: choises: unknown key \(did you mean choices\?\)"),
        (("answer: a\n", ""), "answer: this key is needed"),
        (("kind: choice", "kind: chioce"), r"t\.yaml:2: kind = 'chioce' is not allowed"),
        (("kind: choice\n", ""), "kind: this key is needed"),
        (("rows.jsonl", "{path: x, sha256: abc}"), r"t\.yaml:4: .*sha256"),
        (("rows.jsonl", "{source: web, path: x}"), r"t\.yaml:4: .*source = 'web' is not allowed"),
        (("name: t", "name: 'no blanks'"), r"t\.yaml:1: name"),
        (("test: rows", "tests: rows"), "evaluate names 'test', which is no split"),
        (("answer: a", "few_shot: {cuont: 3}\nanswer: a"), r"t\.yaml:7: few_shot.cuont: unknown key"),
        (("answer: a", "chat: maybe\nanswer: a"), r"t\.yaml:7: chat = 'maybe'"),
        (("answer: a", "answer: a\nanswer: b"), "the key 'answer' stands twice"),
    ],
)
def test_mistakes_are_named_with_their_lines(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(InvalidRecipe, match=message):
        load(write(tmp_path, TASK.replace(*change)))


@pytest.mark.parametrize(
    ("kind", "keys", "message"),
    [
        ("generation", "references: x\ngeneration: {samples: 3}", "need a temperature above 0"),
        ("generation", "references: x\nextraction: {kind: regexp, pattern: x}", "kind = 'regexp' is not allowed"),
        ("generation", "references: x\nextraction: {kind: regex, pattern: '('}", "no regular expression"),
        ("classification", "text: x\nlabels: [a]\nanswer: a", "labels"),
        ("classification", "text: x\nlabels: [a, b]\nwords: [c]\nanswer: a", "words has 1 entries and labels 2"),
        ("classification", "text: x\nlabels: [a, b]\naliases: {c: d}\nanswer: a", "aliases names 'd'"),
    ],
)
def test_values_that_do_not_go_together(tmp_path: Path, kind: str, keys: str, message: str) -> None:
    text = f"name: t\nkind: {kind}\ndata: {{splits: {{test: x.jsonl}}}}\nprompt: x\n{keys}\n"
    with pytest.raises(InvalidRecipe, match=message):
        load(write(tmp_path, text))


def test_changes_from_the_command_line(tmp_path: Path) -> None:
    path = write(tmp_path, TASK)
    found = find(path, ["few_shot.count=3", "chat=on"])
    assert (found.task.few_shot.count, found.task.chat) == (3, "on")  # type: ignore[union-attr]
    with pytest.raises(InvalidRecipe, match=r"few_shot\.cuont: unknown key"):
        find(path, ["few_shot.cuont=3"])


def test_variables_of_a_task(tmp_path: Path) -> None:
    text = TASK.replace("rows.jsonl", "'${set}.jsonl'") + "variables: {set: easy}\n"
    for assignments, expected in (([], "easy.jsonl"), (["variables.set=hard"], "hard.jsonl")):
        assert find(write(tmp_path, text), assignments).task.data.splits["test"][0].path == expected  # type: ignore[union-attr]


def test_the_digest_is_of_what_is_asked(tmp_path: Path) -> None:
    plain = find(write(tmp_path, TASK)).digest
    assert find(write(tmp_path, TASK + "title: T\ntags: [x]\nmetrics: [accuracy]\n")).digest == plain
    assert find(write(tmp_path, TASK.replace("{{q}}", "Q: {{q}}"))).digest != plain
    assert choice_task(tmp_path).digest != plain
