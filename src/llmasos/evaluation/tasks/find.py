"""Tasks by name or by file."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmasos.errors import InvalidRecipe, NotFound, did_you_mean
from llmasos.evaluation.task import TASKS, Task
from llmasos.i18n import t
from llmasos.library.digest import digest_of
from llmasos.library.manifest import canonical_json
from llmasos.recipe import loading
from llmasos.recipe.document import Document, override
from llmasos.settings import get_settings

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class FoundTask:
    """A task, and the folder that its relative paths start from."""

    task: Task
    folder: Path

    @property
    def digest(self) -> str:
        """Digest of everything that decides what is asked and how it is judged, texts for people left out."""
        values = self.task.model_dump(
            mode="json", exclude={"title", "description", "tags", "metrics", "variables", "data"}, exclude_none=True
        )
        return digest_of(canonical_json(values))


def builtin_names() -> list[str]:
    """Names of the tasks that come with LLMasOS, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def own_folder() -> Path:
    """Where a person's own tasks are, each in a file of its name."""
    return get_settings().home / "tasks"


def builtin_tasks() -> list[FoundTask]:
    """The tasks that come with LLMasOS, by name."""
    return [find(name) for name in builtin_names()]


def find(name: str | Path, assignments: Sequence[str] = ()) -> FoundTask:
    """A task by the name of a built-in one, by that of an own one in the home folder, or by the path of a YAML file.

    Args:
        assignments: changes such as ``few_shot.count=3``.

    Raises:
        NotFound: there is no such task or file; the hint offers near names.
        InvalidRecipe: the file has problems; the message lists all with their lines.
    """
    path = file_of(name)
    if path is not None:
        return load(path, assignments)
    text = str(name)
    builtin, own = FOLDER / f"{text}.yaml", own_folder() / f"{text}.yaml"
    if text not in builtin_names():
        if own.is_file():
            return load(own, assignments)
        known = [*builtin_names(), *sorted(path.stem for path in own_folder().glob("*.yaml"))]
        raise NotFound(
            t("there is no task {name}", name=text),
            hint=did_you_mean(text, known)
            or t("`llmasos eval --list` lists the tasks; a task of your own is named by its file: ./my-task.yaml"),
        )
    return load(builtin, assignments)


def file_of(name: str | Path) -> Path | None:
    """The file that a task's name means; ``None``: it means a built-in task."""
    path = Path(name).expanduser()
    means_file = isinstance(name, Path) or path.suffix in (".yaml", ".yml") or "/" in name
    return path if means_file else None


def load(path: Path, assignments: Iterable[str] = ()) -> FoundTask:
    """Read a task file; raises as :func:`find`."""
    return FoundTask(checked(loading.read(path), assignments), path.absolute().parent)


def of_mapping(values: Mapping[str, Any], assignments: Iterable[str] = (), *, folder: Path | None = None) -> FoundTask:
    """A task by the content of its file; raises as :func:`find`.

    Args:
        folder: where relative paths start from; default: the current folder.
    """
    document = Document(copy.deepcopy(dict(values)), t("the task"), {})
    return FoundTask(checked(document, assignments), folder or Path.cwd())


def checked(document: Document, assignments: Iterable[str] = ()) -> Task:
    """A document as a task.

    Raises:
        InvalidRecipe: it has problems, all of which are in the message.
    """
    override(document, assignments)
    kind = document.values.get("kind")
    if not isinstance(kind, str) or kind not in TASKS:
        if kind is None:
            problem = t("{place}: {where}: this key is needed", place=document.place(()), where="kind")
        else:
            place = document.place(("kind",))
            problem = t("{place}: kind = {value!r} is not allowed", place=place, value=str(kind))
        raise InvalidRecipe(
            problem, hint=did_you_mean(str(kind), TASKS) or t("Kinds are: {kinds}.", kinds=", ".join(TASKS))
        )
    hint = t("`llmasos eval --explain {kind}` lists every key with its meaning.", kind=kind)
    return loading.check(document, TASKS[kind], hint=hint)
