"""What a member may let a training do: what reads or writes elsewhere on this machine is for admins."""

from __future__ import annotations

from llmasos.errors import Forbidden
from llmasos.i18n import t
from llmasos.modeling.finding import as_folder
from llmasos.studio.context import Context
from llmasos.studio.datasets.reach import check_reach
from llmasos.training.recipe.kinds import TrainingRecipe
from llmasos.training.recipe.models import BaseModelSource, ExistingTokenizer


def check_training_reach(context: Context, recipe: TrainingRecipe) -> None:
    """Check everything that a recipe names; its paths are absolute.

    Raises:
        Forbidden: it names data, a model or a task elsewhere on this machine, or a tracker, and who asks is no admin.
    """
    check_reach(context, recipe)
    if context.visitor.is_admin:
        return
    name = None
    if isinstance(recipe.model, BaseModelSource):
        name = recipe.model.reference
    elif isinstance(recipe.model.tokenizer, ExistingTokenizer):
        name = recipe.model.tokenizer.model
    if name is not None and as_folder(name) is not None:
        raise Forbidden(
            t("only admins may use a folder of this machine as a model"), hint=t("Choose a model of the library.")
        )
    if any(task.task.endswith((".yaml", ".yml")) for task in recipe.evaluation.tasks):
        raise Forbidden(t("only admins may use files as tasks"), hint=t("Name a built-in task."))
    if recipe.trackers:
        raise Forbidden(t("only admins may use trackers"), hint=t("Leave trackers out; the run keeps every measure."))
