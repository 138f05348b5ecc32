"""A person's own tasks in the home folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmasos.errors import InvalidRecipe, InvalidRequest, LLMasOSError, NotFound
from llmasos.evaluation.tasks.find import find
from llmasos.evaluation.tasks.own import own_tasks, save_task

TASK = """\
name: my-task
kind: generation
data: {splits: {test: {path: rows.jsonl}}}
prompt: "{{q}}"
references: "{{a}}"
"""


def test_a_task_is_saved_and_found_by_its_name(home: Path) -> None:
    path, found = save_task(TASK)
    assert path == home / "tasks" / "my-task.yaml" and found.folder == home / "tasks"
    assert find("my-task").digest == found.digest
    assert [(file, one.task.name) for file, one in own_tasks(_never)] == [(path, "my-task")]
    with pytest.raises(NotFound, match="no task my-tesk") as raised:
        find("my-tesk")
    assert "my-task" in (raised.value.hint or "")


@pytest.mark.parametrize("name", ["my-task", "gsm8k"])
def test_no_task_is_replaced(home: Path, name: str) -> None:
    save_task(TASK)
    with pytest.raises(InvalidRequest, match=f"there is a task {name}"):
        save_task(TASK.replace("my-task", name))


@pytest.mark.parametrize("content", [
    "name: [", "- no mapping", "name: x\nkind: none", TASK.replace("my-task", "../escaped"), TASK + "unknown: 1\n",
])  # fmt: skip
def test_what_is_no_task_is_refused(home: Path, content: str) -> None:
    with pytest.raises(InvalidRecipe):
        save_task(content)
    assert not (home / "tasks").exists()


def test_a_broken_file_is_told_beside_the_others(home: Path) -> None:
    save_task(TASK)
    (home / "tasks" / "broken.yaml").write_text("kind: generation\n")
    told: list[str] = []
    assert len(own_tasks(lambda path, error: told.append(path.name))) == 1
    assert told == ["broken.yaml"]


def _never(path: Path, error: LLMasOSError) -> None:
    raise AssertionError(path)
