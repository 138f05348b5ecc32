"""From what a user calls a model to its folder: a path, or a version of the library, fetched first if need be."""

from __future__ import annotations

import contextvars
import importlib
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos.errors import InvalidReference, NotFound, Unsupported
from llmasos.i18n import t
from llmasos.library.kind import Kind
from llmasos.modeling.adapter_folder import AdapterFolder
from llmasos.modeling.folder import ModelFolder
from llmasos.settings import get_settings

if TYPE_CHECKING:
    from llmasos.library.store import Library, Version


def as_folder(reference: str | Path) -> Path | None:
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


def find_version(reference: str, library: Library, accept_license: bool, *, adapters: bool = False) -> Version:
    """The version that is meant: of the library, the catalogue, a named source, or else of Hugging Face.

    Args:
        adapters: whether it may be an adapter, which :func:`verified_folder` puts on its base.

    Raises:
        Unsupported: it is no model.
    """
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
    if not (adapters and version.metadata.kind is Kind.ADAPTER):
        refuse_other_kinds(version.metadata.kind, reference)
    return version


def _on_hub(reference: str) -> str | None:
    """``hf:org/name`` for a plain ``org/name``: the form in which models are known everywhere."""
    return f"hf:{reference}" if re.fullmatch(r"[\w.-]+/[\w.-]+", reference) else None


def verified_folder(reference: str, version: Version, library: Library) -> ModelFolder:
    """The version as a folder, its bytes checked while torch and what else will run the model is being imported.

    Hashing releases the interpreter's lock, so on two cores the check costs next to nothing. An adapter becomes its
    base with it.

    Raises:
        NotFound: the base of an adapter is not in the library.
    """
    if version.metadata.kind is Kind.ADAPTER:
        return _on_its_base(reference, version, library)
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


def _on_its_base(reference: str, version: Version, library: Library) -> ModelFolder:
    adapter = AdapterFolder.open(library.view(version, verify=get_settings().verify_on_load))
    base = verified_folder(reference, base_of(reference, version, library), library)
    return base.adapted(adapter, reference=reference, labels=tuple(version.metadata.labels))


def base_of(reference: str, version: Version, library: Library) -> Version:
    """The version that an adapter was made for.

    Raises:
        NotFound: the adapter does not say which, or the library does not have it.
        Unsupported: it is an adapter itself.
    """
    row = next(iter(library.catalogue.rows(digest=version.digest)), None)
    digest = row.base_digest if row is not None else None
    named = version.metadata.base or "-"
    if digest is None:
        raise NotFound(
            t("{reference} does not say which version its base is; it names {base}", reference=reference, base=named),
            hint=t("Pull that model and import the adapter again, or serve both: BASE+{reference}.",
                   reference=reference),
        )  # fmt: skip
    if not library.catalogue.rows(digest=digest):
        raise NotFound(
            t("{reference} is an adapter, and its base {digest} is not in the library", reference=reference,
              digest=digest),
            hint=t("Pull the base again: it was {base}.", base=named),
        )  # fmt: skip
    base = library.version(digest)
    if base.metadata.kind is not Kind.MODEL:
        raise Unsupported(
            t("{reference} is made for an artefact of kind {kind}, not for a model", reference=reference,
              kind=base.metadata.kind),
            hint=t("Merge the adapter below first."),
        )  # fmt: skip
    return base
