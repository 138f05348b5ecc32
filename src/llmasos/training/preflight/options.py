"""Checks of the recipe alone: keys that do not go together, values that are known to fail. Nothing is read."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from llmasos.errors import InvalidRecipe, NotFound
from llmasos.hardware import choose_device
from llmasos.i18n import t
from llmasos.training import limits
from llmasos.training.methods import defaults
from llmasos.training.preflight.report import Report
from llmasos.training.presets.shape import shape_of
from llmasos.training.presets.table import check_kind
from llmasos.training.recipe.kinds import TrainingRecipe
from llmasos.training.recipe.models import PresetModel


def check_options(recipe: TrainingRecipe, report: Report, *, world: int = 1) -> str | None:
    """Check what the recipe says in itself; the device that it is for, or ``None`` if there is none.

    Args:
        world: processes that will share the work.
    """
    scratch = isinstance(recipe.model, PresetModel)
    if isinstance(recipe.model, PresetModel):
        with report.catching("model"):
            check_kind(shape_of(recipe.model).preset, recipe.kind)
    for warning in defaults.warnings(recipe.method, recipe.kind, scratch=scratch):
        report.warn("method", warning)
    with report.catching("options"):
        limits.micro_batch_size(recipe, tokens=1.0, world=world, device="cpu")
    _check_evaluation(recipe, report)
    device = None
    with report.catching("options"):
        device = choose_device(recipe.trainer.device)
    if device is not None:
        from llmasos.training.trainer.precision import choose_precision

        with report.catching("options"):
            choose_precision(recipe.trainer, recipe.method, device)
    return device


def _check_evaluation(recipe: TrainingRecipe, report: Report) -> None:
    options, data = recipe.evaluation, recipe.data
    validated = bool(data.validation or data.validation_share)
    measured = validated or bool(options.tasks)
    with report.catching("options"):
        if options.samples and not validated:
            raise InvalidRecipe(
                t("evaluation.samples = {count}, and there are no validation rows", count=options.samples),
                hint=t("Give data.validation or data.validation_share, or name evaluation.prompts."),
            )
    with report.catching("options"):
        if options.early_stopping is not None and not measured:
            raise InvalidRecipe(
                t("evaluation.early_stopping: nothing is measured that could tell when to stop"),
                hint=t("Give data.validation or data.validation_share, or name evaluation.tasks."),
            )
    if not measured:
        report.warn(
            "options",
            t("nothing is measured: without validation rows nobody sees whether the model learns or only remembers"),
            t("Give data.validation or data.validation_share."),
        )
    if recipe.kind in ("classify", "reward") and options.prompts:
        with report.catching("options"):
            raise InvalidRecipe(
                t("evaluation.prompts: a model of kind {kind} continues no texts", kind=recipe.kind),
                hint=t("Leave it out."),
            )
    for task in options.tasks:
        if task.task.endswith((".yaml", ".yml")) and not Path(task.task).is_file():
            report.error(
                "options",
                NotFound(t("there is no file {path}", path=task.task), hint=t("Check evaluation.tasks.")),
            )
    if options.tasks and importlib.util.find_spec("llmasos.evaluation") is None:
        report.error(
            "options",
            InvalidRecipe(
                t("evaluation.tasks: this installation cannot evaluate tasks"), hint=t("Leave evaluation.tasks out.")
            ),
        )
