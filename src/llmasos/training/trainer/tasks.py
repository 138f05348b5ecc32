"""Tasks of `llmasos eval` as measures during training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from torch import nn

from llmasos.errors import InvalidRecipe
from llmasos.i18n import t
from llmasos.modeling.generation_defaults import end_ids
from llmasos.training.opening import OpenedModel
from llmasos.training.recipe.kinds import TrainingRecipe

if TYPE_CHECKING:
    from llmasos.evaluation.tasks.find import FoundTask

_KINDS = ("pretrain", "sft")


class TaskScore(NamedTuple):
    """A score of a task, and whether more of it is better."""

    value: float
    higher_is_better: bool


class TaskMeasures:
    """The tasks of a recipe, found before training starts, so that a mistake in them shows at once.

    Args:
        folder: what names of task files are relative to.

    Raises:
        InvalidRecipe: the kind of model cannot be asked; or a task file has problems.
        NotFound: there is no such task.
    """

    def __init__(self, recipe: TrainingRecipe, opened: OpenedModel, folder: Path) -> None:
        self._opened = opened
        self._wanted = recipe.evaluation.tasks
        self._tasks: list[FoundTask] = []
        if not self._wanted:
            return
        if recipe.kind not in _KINDS:
            raise InvalidRecipe(
                t("evaluation.tasks: models of kind {kind} cannot be measured on tasks during training",
                  kind=recipe.kind),
                hint=t("Leave them out, and run `llmasos eval` when the model is trained."),
            )  # fmt: skip
        from llmasos.evaluation.tasks.find import find

        self._tasks = [
            find(folder / task.task if task.task.endswith((".yaml", ".yml")) else task.task) for task in self._wanted
        ]

    def __len__(self) -> int:
        return len(self._wanted)

    def measure(self, module: nn.Module) -> dict[str, TaskScore]:
        """The scores of all tasks now, as ``task.score``."""
        from llmasos.evaluation.options import RunOptions
        from llmasos.evaluation.periodic import evaluate_module

        opened = self._opened
        tokenizer = opened.renderer.tokenizer
        found: dict[str, TaskScore] = {}
        for wanted, task in zip(self._wanted, self._tasks, strict=True):
            evaluated = evaluate_module(
                task,
                module,
                tokenizer,
                context_length=opened.context_length,
                template=opened.renderer.template,
                end_ids=end_ids(opened.folder, tokenizer),
                options=RunOptions(limit=wanted.limit),
            ).evaluation
            for name, entry in evaluated.scores.items():
                found[f"{evaluated.task}.{name}"] = TaskScore(float(entry.value), entry.higher_is_better)
        return found
