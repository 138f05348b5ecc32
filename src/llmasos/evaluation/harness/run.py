"""Tasks of lm-evaluation-harness on our engine."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmasos.errors import InvalidRequest, MissingDependency, NotFound, did_you_mean
from llmasos.evaluation.backends.protocol import Backend
from llmasos.evaluation.harness.files import write_harness_files
from llmasos.evaluation.harness.reading import Imported, from_harness
from llmasos.i18n import t


@dataclass(frozen=True)
class HarnessRun:
    """What a run came to: the harness's own results, ours, and the files that were written."""

    results: dict[str, Any]
    imported: tuple[Imported, ...]
    files: tuple[Path, ...]


def run_harness(
    backend: Backend,
    tasks: Sequence[str],
    *,
    include: Path | None = None,
    limit: int | None = None,
    few_shot: int | None = None,
    chat: bool = False,
    seed: int = 1234,
    output: Path | None = None,
) -> HarnessRun:
    """Run tasks of the harness, its own or those of YAML files of its format.

    Args:
        include: folder with more task files, such as tasks over local data.
        limit: the first rows of each task only.
        few_shot: solved examples; default: what the task says.
        chat: send prompts through the model's chat template.
        output: folder for files of the harness's format.

    Raises:
        MissingDependency: lm-eval is not installed.
        NotFound: there is no such task or folder.
        InvalidRequest: a task cannot be run.
    """
    require_harness()
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    from llmasos.evaluation.harness.model import EngineLM

    if include is not None and not include.is_dir():
        raise NotFound(t("there is no folder {path}", path=include), hint=t("Check the path."))
    manager = TaskManager(include_path=None if include is None else str(include))
    for name in tasks:
        if name not in manager.all_tasks:
            raise NotFound(
                t("lm-evaluation-harness has no task {name!r}", name=name),
                hint=did_you_mean(name, manager.all_tasks)
                or t("`lm_eval ls tasks` lists them; --include names a folder with more."),
            )
    model = EngineLM(backend, seed=seed)
    results = simple_evaluate(
        model, tasks=list(tasks), num_fewshot=few_shot, limit=limit, apply_chat_template=chat, log_samples=True,
        task_manager=manager, random_seed=seed, numpy_random_seed=seed, torch_random_seed=seed,
        fewshot_random_seed=seed, bootstrap_iters=1000,
    )  # fmt: skip
    if results is None:
        raise InvalidRequest(t("the harness gave no results"), hint=t("Only the first process of several has them."))
    found: dict[str, Any] = dict(results)
    found["model_name"], found["model_source"] = backend.reference, "llmasos"
    samples = found.pop("samples", {})
    imported = tuple(from_harness(found, samples, model=backend.reference, model_digest=backend.digest))
    files = () if output is None else write_harness_files(output, found, samples)
    return HarnessRun(found, imported, files)


def require_harness() -> None:
    """Raise :class:`MissingDependency` if lm-eval is not installed."""
    if importlib.util.find_spec("lm_eval") is None:
        raise MissingDependency(
            t("lm-evaluation-harness is not installed"), hint=t('pip install "llmasos[harness]" installs it.')
        )
