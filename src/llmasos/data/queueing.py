"""Queueing a preparation as a run, for a worker that outlives whoever asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from llmasos.data.recipe import DataRecipe
from llmasos.runs.queue import Queue
from llmasos.runs.store import RunStore
from llmasos.settings import get_settings

if TYPE_CHECKING:
    from llmasos.library.store import Library
    from llmasos.runs.run import Run


def queue_preparation(recipe: DataRecipe, folder: Path, *, library: Library, accept_license: bool = False) -> Run:
    """Queue a preparation; it begins as soon as fewer runs than allowed are at work.

    Args:
        folder: what relative paths of the recipe are relative to.
        accept_license: whether the person accepts licences that ask for it.
    """
    store = RunStore(library)
    run = store.create(
        "data",
        yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        name=recipe.name,
        recipe_folder=folder.absolute(),
        accept_license=accept_license,
    )
    Queue(store, limit=get_settings().concurrent_runs).dispatch()
    return store.get(run.id) or run
