"""A person's own tasks: files in the folder ``tasks`` of the home folder, which are found by their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from llmasos.errors import InvalidRecipe, InvalidRequest, LLMasOSError, NotFound
from llmasos.evaluation.tasks.find import FoundTask, builtin_names, checked, load, own_folder
from llmasos.i18n import t
from llmasos.library.disk import write_file
from llmasos.recipe.document import parse


def own_tasks(damaged: Callable[[Path, LLMasOSError], None]) -> list[tuple[Path, FoundTask]]:
    """The tasks with their files, by name.

    Args:
        damaged: is told of files that are no task.
    """
    found = []
    for path in sorted(own_folder().glob("*.yaml")):
        try:
            found.append((path, load(path)))
        except (InvalidRecipe, NotFound) as error:
            damaged(path, error)
    return found


def save_task(content: str) -> tuple[Path, FoundTask]:
    """Check a task and put it into the folder, under its name.

    Args:
        content: of the YAML file. Relative paths in it start from the folder.

    Raises:
        InvalidRecipe: it has problems, all of which are in the message.
        InvalidRequest: a task of this name is there.
        OutOfDisk: it does not fit.
    """
    task = checked(parse(content, t("the task")))
    path = own_folder() / f"{task.name}.yaml"
    if task.name in builtin_names() or path.exists():
        raise InvalidRequest(t("there is a task {name}", name=task.name), hint=t("Choose another name."))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, content.encode())
    return path, FoundTask(task, path.parent)
