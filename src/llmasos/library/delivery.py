"""Getting artefacts out of the library: export to a folder or file, push to an OCI registry."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos import progress
from llmasos.errors import AlreadyExists, IntegrityError, InvalidReference, InvalidRequest, Unsupported, did_you_mean
from llmasos.i18n import t
from llmasos.library.digest import CHUNK
from llmasos.library.disk import full_disk_as_error, remove_tree, require_space
from llmasos.library.sources.reference import OCISource, parse_source
from llmasos.library.store import Library, Version

if TYPE_CHECKING:
    from llmasos.library.manifest import Descriptor
    from llmasos.library.sources.oci import PushReport

EXPORT_FORMATS = ("folder", "gguf")


@dataclass(frozen=True)
class Export:
    """What an export wrote."""

    version: Version
    path: Path
    files: int
    size: int


def export(
    reference: str, destination: Path, *, format: str = "folder", library: Library | None = None, force: bool = False
) -> Export:
    """Write a version to a folder, or its original GGUF file to a file; every byte is checked on the way.

    Args:
        format: ``"folder"``: all files of the version; ``"gguf"``: the GGUF file that it was imported from.
        force: replace the files that are at ``destination`` under the same names; others stay.

    Raises:
        NotFound: the library has no such version.
        AlreadyExists: there is something at the destination.
        Unsupported: the version was not made from a GGUF file.
        InvalidRequest: the format is not known.
        IntegrityError: a blob is damaged. OutOfDisk: it does not fit. Nothing is written then.
    """
    if format not in EXPORT_FORMATS:
        raise InvalidRequest(
            t("unknown format {format}; allowed: {allowed}", format=format, allowed=", ".join(EXPORT_FORMATS)),
            hint=did_you_mean(format, EXPORT_FORMATS),
        )
    library = library or Library()
    version = library.resolve(reference)
    destination = destination.expanduser().absolute()
    if format == "gguf":
        original = _original_gguf(version)
        if destination.is_dir():
            destination = destination / Path(original.path or "").name
        _check_free(destination, force)
        _write(library, {destination: original}, destination, label=str(reference))
        return Export(version, destination, 1, original.size)
    _check_free(destination, force)
    files = {destination / path: layer for path, layer in version.manifest.files.items()}
    _write(library, files, destination, label=str(reference))
    return Export(version, destination, len(files), version.size)


def push(reference: str, target: str, *, library: Library | None = None) -> PushReport:
    """Copy a version to an OCI registry under the same digest.

    Args:
        target: ``oci:host/repository[:tag]``.

    Raises:
        NotFound: the library has no such version.
        InvalidReference: the target is not a place in a registry.
        Unauthorised, Unavailable, IntegrityError: as they say.
    """
    from llmasos.library.sources.oci import push_artefact

    place = parse_source(target)
    if not isinstance(place, OCISource):
        raise InvalidReference(
            t("{target} is not a place in a registry", target=target),
            hint=t("Write oci:host/repository:tag, for example oci:localhost:5000/models/mine:v1."),
        )
    if place.digest is not None:
        raise InvalidReference(
            t("{target} has a digest, but the digest is that of the version that is pushed", target=target),
            hint=t("Write oci:host/repository:tag."),
        )
    library = library or Library()
    version = library.resolve(reference)
    paths = {blob.digest: library.blobs.path(blob.digest) for blob in version.manifest.blobs}
    for blob in version.manifest.blobs:
        if library.blobs.size(blob.digest) != blob.size:
            library.blobs.verify(blob.digest, size=blob.size)
    return push_artefact(version.manifest, paths, place, neighbour=_neighbour(library, version, place))


def _neighbour(library: Library, version: Version, target: OCISource) -> str | None:
    """Another repository of the same registry that this version came from: its blobs need not be sent again."""
    from llmasos.library.metadata import Lineage

    for row in library.lineage(version):
        source = Lineage.model_validate_json(row.document, extra="ignore").source
        place = parse_source(source) if source else None
        if isinstance(place, OCISource) and place.host == target.host and place.repository != target.repository:
            return place.repository
    return None


def _original_gguf(version: Version) -> Descriptor:
    for path, layer in version.manifest.files.items():
        if path.lower().endswith(".gguf"):
            return layer
    raise Unsupported(
        t("{digest} was not made from a GGUF file", digest=version.digest),
        hint=t("Export it as a folder: --format folder."),
    )


def _check_free(destination: Path, force: bool) -> None:
    if destination.is_dir() and not any(destination.iterdir()):
        return
    if destination.exists() and not force:
        raise AlreadyExists(
            t("{path} exists already", path=destination),
            hint=t("Choose another place, or pass --force to replace files there."),
        )


def _write(library: Library, files: dict[Path, Descriptor], destination: Path, *, label: str) -> None:
    """Copy blobs to files beside the destination and put them in place when all are written and right."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    total = sum(layer.size for layer in files.values())
    require_space(destination.parent, total)
    staging = destination.parent / f".{destination.name}.{secrets.token_hex(4)}"
    try:
        with (
            progress.current().task(t("export {name}", name=label), total=total, unit="B") as task,
            full_disk_as_error(destination.parent, total),
        ):
            for path, layer in files.items():
                target = staging / path.relative_to(destination) if path != destination else staging
                target.parent.mkdir(parents=True, exist_ok=True)
                hasher = hashlib.sha256()
                with library.blobs.open(layer.digest) as source, target.open("wb") as file:
                    while block := source.read(CHUNK):
                        file.write(block)
                        hasher.update(block)
                        task.advance(len(block))
                if f"sha256:{hasher.hexdigest()}" != layer.digest:
                    library.blobs.verify(layer.digest, size=layer.size)
                    raise IntegrityError(t("{path} was changed while it was read", path=layer.path))
        if destination.is_dir() and any(destination.iterdir()):
            for path in files:  # only files of the same names are replaced; what else lies there is not ours
                path.parent.mkdir(parents=True, exist_ok=True)
                (staging / path.relative_to(destination)).replace(path)
        else:
            staging.replace(destination)
    finally:
        if staging.is_dir():
            remove_tree(staging)
        else:
            staging.unlink(missing_ok=True)
