"""Training as a run: from a recipe file to a run in the catalogue whose work is :func:`llmasos.training.run.train`."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from llmasos import progress
from llmasos.errors import InvalidRecipe, InvalidRequest, MissingDependency, did_you_mean
from llmasos.i18n import t
from llmasos.progress import Sink
from llmasos.recipe import loading
from llmasos.recipe.document import Document
from llmasos.runs.context import RunContext
from llmasos.runs.execution import Done, Finished, Work, execute
from llmasos.runs.queue import Queue
from llmasos.runs.run import Run
from llmasos.runs.store import RECIPE, RunStore
from llmasos.settings import get_settings
from llmasos.training.recipe.kinds import KINDS, Training, TrainingRecipe
from llmasos.training.recipe.models import BaseModelSource, ExistingTokenizer
from llmasos.training.recipe.paths import with_absolute_paths

if TYPE_CHECKING:
    from llmasos.library.store import Library
    from llmasos.training.run import TrainingResult

_NEEDED = ("torch", "transformers", "tokenizers", "safetensors", "peft", "accelerate", "pyarrow", "orjson", "numpy")


def read_recipe(recipe: str | Path | Mapping[str, Any], changes: Sequence[str] = ()) -> TrainingRecipe:
    """Read and check a training recipe; every path in it is absolute afterwards.

    Args:
        recipe: a YAML file, or its content as a mapping, in which paths are relative to the current folder.
        changes: assignments such as ``"trainer.steps=10"``.

    Raises:
        NotFound: there is no such file.
        InvalidRecipe: it has problems, all of which are in the message; or its kind is not one of training.
    """
    document, folder = loading.read_given(recipe)
    checked = loading.check(document, _model_of(document), changes)
    return cast("TrainingRecipe", with_absolute_paths(checked, folder))


@dataclass(frozen=True)
class Plan:
    """What is to be trained, and the run to go on with if it is not a new one."""

    recipe: TrainingRecipe
    resume: Run | None


def plan_training(
    recipe: str | Path | Mapping[str, Any] | None,
    changes: Sequence[str] = (),
    *,
    name: str | None = None,
    resume: str | None = None,
    library: Library,
    accept_license: bool = False,
) -> Plan:
    """Check everything that can be checked before a run is made, and fetch the models.

    Args:
        recipe: a YAML file or a mapping, unless ``resume`` is given.
        changes: assignments such as ``"trainer.steps=10"``.
        name: what the new run is to be called.
        resume: id, beginning of an id, or name of the run to go on with.

    Raises:
        InvalidRequest: both a recipe and a run are given, or neither; or changes for a run that goes on.
        InvalidRecipe, NotFound, MissingDependency, LicenseNotAccepted, Unavailable, OutOfDisk: see the functions here.
    """
    if (recipe is None) == (resume is None):
        raise InvalidRequest(
            t("either a recipe or a run to resume is needed"),
            hint=t("`llmasos train RECIPE`, or `llmasos train --resume RUN`."),
        )
    require_packages()
    if recipe is not None:
        checked = with_date(read_recipe(recipe, changes))
        fetch_models(checked, library, accept_license=accept_license)
        return Plan(checked, None)
    assert resume is not None
    if changes or name is not None:
        raise InvalidRequest(
            t("a run that goes on keeps its recipe and its name"),
            hint=t("Change the recipe and start a new run, or leave --set and --name out."),
        )
    store = RunStore(library)
    store.reap()
    run = store.find(resume)
    return Plan(recipe_of(run, store), run)


def with_date(recipe: TrainingRecipe) -> TrainingRecipe:
    """The recipe with today's date written down, which chat templates may show: a run that goes on tomorrow must see
    the same tokens."""
    if recipe.data.rendering.today is not None:
        return recipe
    rendering = recipe.data.rendering.model_copy(update={"today": date.today()})
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"rendering": rendering})})


def _model_of(document: Document) -> type[Training]:
    kind = document.values.get("kind")
    if kind in KINDS:
        return KINDS[kind]
    if kind == "data":
        raise InvalidRecipe(
            t("{place}: this recipe prepares data, it does not train", place=document.place(("kind",))),
            hint=t("Run it with `llmasos data prepare`."),
        )
    allowed = t("Kinds are: {kinds}.", kinds=", ".join(KINDS))
    if kind is None:
        raise InvalidRecipe(t("{place}: {where}: this key is needed", place=document.name, where="kind"), hint=allowed)
    raise InvalidRecipe(
        t("there is no kind of recipe {kind!r}", kind=kind), hint=did_you_mean(str(kind), list(KINDS)) or allowed
    )


def require_packages() -> None:
    """Say what is missing before anything is fetched.

    Raises:
        MissingDependency: a package that training needs is not installed.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependency(
            t("training needs packages that are not installed: {names}", names=", ".join(missing)),
            hint='pip install "llmasos[training]"',
        )


def fetch_models(recipe: TrainingRecipe, library: Library, *, accept_license: bool) -> None:
    """Fetch the models of a recipe that are not in the library, so that licences are asked for while somebody is here.

    Raises:
        NotFound, LicenseNotAccepted, Unauthorised, Unavailable, OutOfDisk: a model cannot be had.
    """
    from llmasos.modeling.finding import as_folder, find_version

    names = []
    if isinstance(recipe.model, BaseModelSource):
        names.append(recipe.model.reference)
    elif isinstance(recipe.model.tokenizer, ExistingTokenizer):
        names.append(recipe.model.tokenizer.model)
    for name in names:
        if as_folder(name) is None:
            find_version(name, library, accept_license)


def as_yaml(recipe: Training) -> str:
    """The resolved recipe: every key with its value, as a file that says the same.

    What the recipe leaves to the kind and the model is left out here too: written down, it would be the user's wish.
    """
    values = recipe.model_dump(mode="json")
    if "packing" not in recipe.data.model_fields_set:
        del values["data"]["packing"]
    if "overlong" not in recipe.data.rendering.model_fields_set:
        del values["data"]["rendering"]["overlong"]
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def recipe_of(run: Run, store: RunStore) -> TrainingRecipe:
    """The recipe that a run keeps.

    Raises:
        InvalidRecipe: the file is gone or was changed into something that is none.
    """
    path = store.folder(run) / RECIPE
    if run.kind not in KINDS:
        raise InvalidRecipe(
            t("the run {run} is no training: its kind is {kind}", run=run.id, kind=run.kind),
            hint=t("Resume it with `llmasos runs resume {run}`.", run=run.id),
        )
    return cast("TrainingRecipe", loading.load(path, KINDS[run.kind]))


def training_work(recipe: TrainingRecipe, library: Library) -> Work:
    """The work of a run that trains."""

    def work(context: RunContext) -> Done:
        from llmasos.training.run import train
        from llmasos.training.trackers import open_trackers

        with ExitStack() as opened:
            trackers = open_trackers(
                recipe.trackers, run=context.id, folder=context.folder, recipe=recipe.model_dump(mode="json")
            )
            for tracker in trackers:
                opened.callback(tracker.close)
            opened.enter_context(progress.reporting(progress.current().emit, *trackers))
            result = train(recipe, context, library=library)
            return Done(result, summary_of(result), cancelled=result.outcome == "cancelled")

    return work


def summary_of(result: TrainingResult) -> dict[str, Any]:
    """What the catalogue keeps of a result; JSON values."""
    version = result.version
    return {
        "outcome": result.outcome,
        "name": version.names[0] if version is not None and version.names else None,
        "digest": version.digest if version is not None else None,
        "folder": str(result.folder),
        "steps": result.steps,
        "total_steps": result.total_steps,
        "tokens": result.tokens,
        "seconds": result.seconds,
        "before": dict(result.before),
        "after": dict(result.after),
        "best_step": result.best_step,
        "warnings": list(result.warnings),
    }


def train_here(
    recipe: TrainingRecipe,
    *,
    library: Library,
    name: str | None = None,
    resume: Run | None = None,
    sinks: tuple[Sink, ...] = (),
    on_start: Callable[[Run], None] | None = None,
    on_stop: Callable[[], None] | None = None,
) -> Finished:
    """Train in this process, as a run of its own or going on with one. Also called by each process of several.

    Args:
        name: what the run is called; default: what the recipe says.
        resume: the run to go on with.
        sinks: who is told what happens.
        on_start: called with the run before it starts.
        on_stop: called when somebody asked it to stop.

    Raises:
        InUse, InvalidRequest: the run cannot be resumed.
        OutOfDisk: the run's files cannot be made.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:  # torchrun and accelerate launch tell it so
        from llmasos.training.together import train_together

        return train_together(
            recipe, library=library, name=name, resume=resume, sinks=sinks, on_start=on_start, on_stop=on_stop
        )
    store = RunStore(library)
    run = claim_here(recipe, store, name=name, resume=resume)
    if on_start is not None:
        on_start(run)
    try:
        return execute(store, run, training_work(recipe, library), sinks=sinks, on_stop=on_stop)
    finally:
        Queue(store, limit=get_settings().concurrent_runs).dispatch()


def queue_training(
    recipe: TrainingRecipe, *, library: Library, name: str | None = None, resume: Run | None = None
) -> Run:
    """Queue a training for a worker process, and start one if the limit allows; arguments as :func:`train_here`.

    Raises:
        InUse, InvalidRequest: the run cannot be resumed.
        OutOfDisk: the run's files cannot be made.
    """
    store = RunStore(library)
    queue = Queue(store, limit=get_settings().concurrent_runs)
    if resume is not None:
        run = queue.resume(resume)
    else:
        run = store.create(recipe.kind, as_yaml(recipe), name=name or recipe.name)
    queue.dispatch()
    return store.get(run.id) or run


def shows_progress() -> bool:
    """Whether this process tells the person what happens: of several that train together the first."""
    return int(os.environ.get("RANK", "0")) == 0


def claim_here(recipe: TrainingRecipe, store: RunStore, *, name: str | None, resume: Run | None) -> Run:
    """Make or take up a run whose worker is this process; the limit of the queue is for runs in the background.

    Raises:
        InUse, InvalidRequest: the run cannot be resumed.
        OutOfDisk: the run's files cannot be made.
    """
    if resume is not None:
        waiting = Queue(store, limit=get_settings().concurrent_runs).resume(resume, background=False)
    else:
        waiting = store.create(recipe.kind, as_yaml(recipe), name=name or recipe.name, background=False)
    run = store.claim(waiting.id)
    assert run is not None, "nobody else takes a run that is not for the background"
    return run
