"""What a Python program uses: :func:`load`, :func:`prepare`. Chooses where a model comes from and what runs it."""

from __future__ import annotations

import contextvars
import copy
import importlib
import importlib.util
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmasos import progress
from llmasos.errors import InvalidReference, MissingDependency, NotFound, Unsupported
from llmasos.i18n import t
from llmasos.settings import get_settings

if TYPE_CHECKING:
    from llmasos.data.prepare import Prepared
    from llmasos.engine.options import EngineOptions
    from llmasos.library.store import Library, Version
    from llmasos.modeling.folder import ModelFolder
    from llmasos.modeling.model import Model

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
    folder of the transformers layout (``./my-model``), which is used where it is.

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
    path = _as_folder(reference)
    if path is not None:
        from llmasos.modeling.folder import ModelFolder

        return build_model(ModelFolder.open(path, reference=str(reference)), placement, backends=backends)
    from llmasos.library.store import Library

    library = library or Library()
    version = _find(str(reference), library, accept_license)
    folder = _verified_folder(str(reference), version, library)
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
    from llmasos.recipe.document import Document

    if isinstance(recipe, Mapping):
        document, folder = Document(copy.deepcopy(dict(recipe)), t("the recipe"), {}), Path.cwd()
    else:
        document, folder = loading.read(Path(recipe)), Path(recipe).absolute().parent
    changes = [*set, *([f"execution.workers={workers}"] if workers is not None else ())]
    checked = loading.check(document, DataRecipe, changes)
    library = library or Library()

    def open_model(reference: str) -> ModelFolder:
        return open_tokenizer_folder(reference, library=library, accept_license=accept_license)

    return run(checked, folder=folder, library=library, open_model=open_model, keep_work=keep_work)


def open_model_folder(
    reference: str | Path, *, library: Library | None = None, accept_license: bool = False
) -> ModelFolder:
    """A model's folder with its bytes checked, for callers that load it themselves.

    Raises: as :func:`load`, except for what concerns running it.
    """
    _require_packages()
    from llmasos.modeling.folder import ModelFolder

    path = _as_folder(reference)
    if path is not None:
        return ModelFolder.open(path, reference=str(reference))
    from llmasos.library.store import Library

    library = library or Library()
    return _verified_folder(str(reference), _find(str(reference), library, accept_license), library)


def open_tokenizer_folder(
    reference: str | Path, *, library: Library | None = None, accept_license: bool = False
) -> ModelFolder:
    """A model's folder for its tokenizer and template alone: without torch, and without hashing the weights.

    Raises: as :func:`load`, except for what concerns weights.
    """
    from llmasos.modeling.folder import ModelFolder

    path = _as_folder(reference)
    if path is not None:
        return ModelFolder.open(path, reference=str(reference))
    from llmasos.library.store import Library

    library = library or Library()
    version = _find(str(reference), library, accept_license)
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


def _as_folder(reference: str | Path) -> Path | None:
    """The path that is meant, if it is one: a ``Path``, or text that begins like a path."""
    if isinstance(reference, Path):
        path = reference
    elif reference.startswith("file:"):
        path = Path(reference.removeprefix("file:"))
    elif reference.startswith((".", "/", "~")):
        path = Path(reference)
    else:
        return None
    path = path.expanduser()
    if path.is_file():
        raise Unsupported(
            t("{path} is a file, and a model is a folder", path=path),
            hint=t("`llmasos import {path}` adds it to the library; then load it by its name.", path=path),
        )
    return path


def _find(reference: str, library: Library, accept_license: bool) -> Version:
    """The version that is meant: of the library, the catalogue, a named source, or else of Hugging Face."""
    from llmasos.library import acquire
    from llmasos.modeling.loading import refuse_other_kinds

    try:
        version = acquire.ensure(reference, library=library, accept_license=accept_license)
    except (NotFound, InvalidReference) as error:  # names of the library have no capitals, those of the hub may
        hub = _on_hub(reference)
        if hub is None:
            raise
        try:
            version = acquire.ensure(hub, library=library, accept_license=accept_license)
        except NotFound:
            raise error from None
    refuse_other_kinds(version.metadata.kind, reference)
    return version


def _on_hub(reference: str) -> str | None:
    """``hf:org/name`` for a plain ``org/name``: the form in which models are known everywhere."""
    return f"hf:{reference}" if re.fullmatch(r"[\w.-]+/[\w.-]+", reference) else None


def _verified_folder(reference: str, version: Version, library: Library) -> ModelFolder:
    """The version as a folder, its bytes checked while torch and what else will run the model is being imported.

    Hashing releases the interpreter's lock, so on two cores the check costs next to nothing.
    """
    from llmasos.modeling.folder import ModelFolder
    from llmasos.modeling.weights import prepare_transformers

    context = contextvars.copy_context()  # progress reports go where the caller's go
    with ThreadPoolExecutor(1, thread_name_prefix="verify") as pool:
        checked = pool.submit(context.run, library.view, version, verify=get_settings().verify_on_load)
        if version.metadata.task_family == "causal":
            # The engine needs no model classes of transformers, which are slow to import; whoever does imports them.
            importlib.import_module("torch")
        else:
            prepare_transformers()
        path = checked.result()
    return ModelFolder.open(path, reference=reference, labels=tuple(version.metadata.labels))
