"""What a newcomer starts from the first page: training on the sample data, and a small evaluation."""

from __future__ import annotations

from pathlib import Path

from llmasos.i18n import language
from llmasos.library import builtin
from llmasos.library.store import Library
from llmasos.runs.run import Run
from llmasos.training.launch import plan_training, queue_training, read_recipe
from llmasos.training.recipe.models import BaseModelSource

SAMPLES = Path(__file__).parent / "samples"
TASKS = ("arc-easy", "hellaswag", "mmlu")
"""Each comes with a few made-up questions, so that nothing is downloaded but the model."""


def sample_recipe() -> Path:
    """The recipe that trains on the sample data in the language in force."""
    return SAMPLES / f"customer-messages.{language()}.yaml"


def sample_model() -> str | None:
    """The model that the sample recipe starts from; ``None``: it begins with random weights."""
    model = read_recipe(sample_recipe()).model
    return model.reference if isinstance(model, BaseModelSource) else None


def fine_tune(library: Library) -> Run:
    """Queue the training on the sample data.

    Raises:
        MissingDependency, NotFound, Unavailable, OutOfDisk: it cannot be begun.
    """
    plan = plan_training(sample_recipe(), library=library)
    return queue_training(plan.recipe, library=library)


def evaluate(library: Library, model: str) -> Run:
    """Queue an evaluation of a model on the questions that come with some tasks.

    Raises:
        MissingDependency, NotFound, Unavailable, OutOfDisk: it cannot be begun.
    """
    from llmasos.sdk_evaluation import evaluate_in_background

    return evaluate_in_background(
        {"kind": "evaluate", "model": model, "tasks": list(TASKS), "sample": True}, library=library
    )


def is_here(library: Library, model: str | None) -> bool:
    """Whether a model need not be downloaded first."""
    if model is None or library.has(model):
        return True
    entry = builtin.find(model)
    return entry is not None and library.has(entry.name)
