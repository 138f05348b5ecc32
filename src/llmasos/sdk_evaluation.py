"""What a Python program uses to evaluate: :func:`evaluate`, and in the background :func:`evaluate_in_background`."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmasos.errors import InvalidReference, InvalidRequest, MissingDependency
from llmasos.i18n import t
from llmasos.modeling.finding import as_folder, find_version
from llmasos.sdk import load

if TYPE_CHECKING:
    from llmasos.evaluation.backends.protocol import Backend
    from llmasos.evaluation.evaluate import Evaluated
    from llmasos.evaluation.recipe import EvaluateRecipe
    from llmasos.evaluation.task import ChatUse
    from llmasos.evaluation.tasks.find import FoundTask
    from llmasos.library.store import Library
    from llmasos.modeling.model import Model
    from llmasos.runs.context import RunContext
    from llmasos.runs.execution import Done, Work
    from llmasos.runs.run import Run

_NEEDED_FOR_EVALUATION = ("jinja2", "numpy", "orjson", "pyarrow", "sacrebleu")


def evaluate(
    model: str | Path | Model,
    tasks: str | Path | Mapping[str, Any] | Sequence[str | Path | Mapping[str, Any]],
    *,
    limit: int | None = None,
    few_shot: int | None = None,
    chat: ChatUse | None = None,
    seed: int | None = None,
    max_tokens: int | None = None,
    sample: bool = False,
    data: str | Path | None = None,
    unchecked_data: bool = False,
    unsafe_code: bool = False,
    set: Sequence[str] = (),
    output: str | Path | None = None,
    resume: bool = False,
    endpoint: str | None = None,
    api_key: str | None = None,
    concurrency: int = 8,
    dtype: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    library: Library | None = None,
    accept_license: bool = False,
) -> list[Evaluated]:
    """Evaluate a model on tasks; see docs/evaluation.md. Scores are attached to the model's version in the library.

    Args:
        model: as for :func:`load`, or a loaded model; with ``endpoint`` the model's name there.
        tasks: names of built-in tasks, YAML files, or contents of such files as mappings.
        limit: most samples of each task, spread evenly over its rows.
        few_shot: solved examples; default: what the task says.
        chat: ``on``, ``off`` or ``auto``; default: what the task says.
        seed: of the choice of examples and of sampled answers.
        max_tokens: most tokens of an answer; default: what the task says.
        sample: use the few made-up rows that come with the task.
        data: folder in which the data is looked for before it is fetched.
        unchecked_data: take files there whose checksum is not that of the task.
        unsafe_code: run generated programs without isolation where this machine offers none.
        set: changes to the tasks such as ``"few_shot.seed=7"``.
        output: folder of the results; default: one in the home folder.
        resume: go on with runs that were interrupted.
        endpoint: address of an API like OpenAI's, up to and including ``/v1``.
        api_key: for the endpoint.
        concurrency: calls to the endpoint at the same time.
        dtype, device, threads, accept_license: as for :func:`load`.
        library: the library; default: that of the settings.

    Raises:
        InvalidRecipe: a task has problems, all of which are in the message.
        NotFound: there is no such task or model, or data is not here.
        Unsupported: the model cannot do a task.
        MissingDependency: a package of the extra ``evaluation`` is not installed.
        InvalidRequest: no sample is left, or there are fewer examples than asked for.
        IntegrityError: data is not what the task names.
    """
    found = find_tasks(tasks, set)
    from llmasos.evaluation.evaluate import evaluate as run
    from llmasos.evaluation.options import RunOptions
    from llmasos.evaluation.prepare import fetch_data
    from llmasos.library.store import Library

    options = RunOptions(
        limit=limit, few_shot=few_shot, chat=chat, seed=seed, max_tokens=max_tokens, sample=sample,
        data=None if data is None else Path(data), unchecked_data=unchecked_data, unsafe_code=unsafe_code,
    )  # fmt: skip
    for item in found:
        fetch_data(item, options)
    library = library or Library()
    with evaluation_backend(
        model, endpoint=endpoint, api_key=api_key, concurrency=concurrency, dtype=dtype, device=device,
        threads=threads, library=library, accept_license=accept_license,
    ) as backend:  # fmt: skip
        folder = None if output is None else Path(output)
        done = run(backend, found, options, output=folder, resume=resume, library=library, open_model=load)
        return list(done)


def evaluate_in_background(
    recipe: str | Path | Mapping[str, Any],
    *,
    set: Sequence[str] = (),
    name: str | None = None,
    library: Library | None = None,
    accept_license: bool = False,
    fetch: bool = True,
) -> Run:
    """Queue an evaluation for a worker process that outlives this one; `llmasos runs` shows, stops and resumes it.

    Data and model are fetched before it is queued, so that what is missing shows while somebody is here.

    Args:
        recipe: a YAML file of the kind ``evaluate``, or its content; its keys are the arguments of :func:`evaluate`,
            with ``changes`` for ``set``. Relative paths in a file are relative to its folder, others to the current
            one.
        set: changes to the recipe such as ``"limit=100"``.
        name: what the run is called; default: what the recipe says, else the model's name.
        library: the library; default: that of the settings.
        accept_license: accept the licence of the model if it asks for that.
        fetch: fetch the data now; off: the worker does, and its run tells how far it is.

    Raises: as :func:`evaluate`.
    """
    import yaml

    from llmasos.evaluation.evaluate import require_own_folders
    from llmasos.evaluation.prepare import fetch_data
    from llmasos.evaluation.recipe import EvaluateRecipe, with_absolute_paths
    from llmasos.library.store import Library
    from llmasos.recipe import loading
    from llmasos.runs.queue import Queue
    from llmasos.runs.store import RunStore
    from llmasos.settings import get_settings

    document, folder = loading.read_given(recipe)
    hint = t("Its keys are the options of `llmasos eval`; see `llmasos eval --help`.")
    checked = with_absolute_paths(loading.check(document, EvaluateRecipe, set, hint=hint), folder)
    library = library or Library()
    tasks = _tasks_of(checked, folder)
    require_own_folders(tasks)
    for found in tasks if fetch else ():
        fetch_data(found, checked.options)
    if checked.endpoint is not None:
        _key_of(checked)
    elif as_folder(checked.model) is None:
        find_version(checked.model, library, accept_license, adapters=True)
    store = RunStore(library)
    run = store.create(
        "evaluate",
        yaml.safe_dump(checked.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True),
        name=name or checked.name or checked.model,
        recipe_folder=folder,
        accept_license=accept_license,
    )
    Queue(store, limit=get_settings().concurrent_runs).dispatch()
    return store.get(run.id) or run


def _tasks_of(recipe: EvaluateRecipe, folder: Path) -> list[FoundTask]:
    return find_tasks(recipe.tasks, recipe.changes, folder=folder)


def _key_of(recipe: EvaluateRecipe) -> str | None:
    variable = recipe.endpoint.key_variable if recipe.endpoint is not None else None
    return None if variable is None else key_from(variable)


def key_from(variable: str) -> str:
    """The key of an endpoint that an environment variable holds.

    Raises:
        InvalidRequest: it is not set.
    """
    value = os.environ.get(variable)
    if not value:
        raise InvalidRequest(
            t("the environment variable {name} is not set", name=variable), hint=t("Put the key of the endpoint there.")
        )
    return value


def evaluation_work(recipe: EvaluateRecipe, library: Library) -> Work:
    """The work of a run that evaluates. It may be ended anywhere: every record is durable when it is there."""

    def work(context: RunContext) -> Done:
        from llmasos.evaluation.evaluate import evaluate as run
        from llmasos.evaluation.prepare import fetch_data
        from llmasos.runs.execution import Done

        found = _tasks_of(recipe, context.recipe_folder)
        for item in found:
            fetch_data(item, recipe.options)
        endpoint = recipe.endpoint
        done: list[Evaluated] = []
        with evaluation_backend(
            recipe.model, endpoint=endpoint.url if endpoint is not None else None, api_key=_key_of(recipe),
            concurrency=endpoint.concurrency if endpoint is not None else 8, dtype=recipe.dtype, device=recipe.device,
            threads=recipe.threads, library=library, accept_license=context.accept_license,
        ) as backend:  # fmt: skip
            for evaluated in run(
                backend, found, recipe.options, output=context.folder / "results", resume=context.resume,
                library=library, open_model=load,
            ):  # fmt: skip
                done.append(evaluated)
                for note in evaluated.evaluation.notes:
                    context.warn(note)
                context.artefact(kind="evaluation", name=evaluated.version, path=evaluated.folder)
        return Done(done, {"model": recipe.model, "tasks": [_summary(item) for item in done]})

    return work


def _summary(done: Evaluated) -> dict[str, Any]:
    evaluation = done.evaluation
    return {
        "task": evaluation.task,
        "name": done.version,
        "folder": str(done.folder),
        "samples": evaluation.samples,
        "counts": dict(evaluation.counts),
        "scores": {name: entry.value for name, entry in evaluation.scores.items() if math.isfinite(entry.value)},
    }


def find_tasks(
    tasks: str | Path | Mapping[str, Any] | Sequence[str | Path | Mapping[str, Any]],
    assignments: Sequence[str] = (),
    *,
    folder: Path | None = None,
) -> list[FoundTask]:
    """Tasks by name, file or content; raises as :func:`evaluate`.

    Args:
        folder: where relative paths of contents start from; default: the current folder.
    """
    missing = [name for name in _NEEDED_FOR_EVALUATION if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependency(
            t("evaluating models needs packages that are not installed: {names}", names=", ".join(missing)),
            hint='pip install "llmasos[evaluation]"',
        )
    from llmasos.evaluation.tasks.find import find, of_mapping

    given = [tasks] if isinstance(tasks, str | Path | Mapping) else tasks
    return [
        of_mapping(item, assignments, folder=folder) if isinstance(item, Mapping) else find(item, assignments)
        for item in given
    ]


@contextmanager
def evaluation_backend(
    model: str | Path | Model,
    *,
    endpoint: str | None = None,
    api_key: str | None = None,
    concurrency: int = 8,
    dtype: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    library: Library | None = None,
    accept_license: bool = False,
) -> Iterator[Backend]:
    """What answers the questions of tasks, open as long as the block runs. Raises as :func:`load`."""
    from llmasos.library.store import Library

    if endpoint is not None:
        from llmasos.evaluation.backends.endpoint import EndpointBackend, EndpointOptions

        server = EndpointBackend(EndpointOptions(endpoint, str(model), api_key, concurrency))
        try:
            yield server
        finally:
            server.close()
        return
    from llmasos.evaluation.backends.open import backend_of
    from llmasos.modeling.model import Model

    library = library or Library()
    if isinstance(model, Model):
        yield backend_of(model, digest=_digest_of(model, library))
        return
    digest = (
        None
        if as_folder(model) is not None
        else find_version(str(model), library, accept_license, adapters=True).digest
    )
    with load(
        model, dtype=dtype, device=device, threads=threads, library=library, accept_license=accept_license
    ) as loaded:
        yield backend_of(loaded, digest=digest)


def _digest_of(model: Model, library: Library) -> str | None:
    """The digest of the version that a model was loaded from; ``None``: it is not from the library."""
    if model.metadata is None:
        return None
    try:
        return library.digest_of(model.reference) if library.has(model.reference) else None
    except InvalidReference:  # a name of the Hugging Face hub
        return None
