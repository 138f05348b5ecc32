"""What a manifest means for the catalogue: the row of the version, the blobs it needs, the steps of its lineage."""

from __future__ import annotations

from collections.abc import Callable

from llmasos.errors import InvalidReference
from llmasos.library.catalogue import FileRow, LineageRow, NewVersion, time_text
from llmasos.library.digest import is_digest
from llmasos.library.manifest import Manifest
from llmasos.library.metadata import LINEAGE_ANNOTATION, Lineage, Metadata, decode
from llmasos.library.reference import Reference


def new_version(manifest: Manifest, metadata: Metadata, base_digest: str | None) -> NewVersion:
    """The catalogue's entry of a version."""
    data = manifest.to_bytes()
    blobs = [FileRow(None, manifest.digest, len(data)), FileRow(None, manifest.config.digest, manifest.config.size)]
    blobs += [FileRow(layer.path, layer.digest, layer.size) for layer in manifest.layers]
    return NewVersion(
        {
            "digest": manifest.digest,
            "kind": metadata.kind.value,
            "size": manifest.size,
            "architecture": metadata.architecture,
            "task_family": metadata.task_family,
            "parameters": metadata.parameters,
            "context_length": metadata.context_length,
            "license": metadata.license,
            "format": metadata.format,
            "precision": metadata.precision,
            "quantization": metadata.quantization,
            "description": metadata.description,
            "base_digest": base_digest,
            "created": time_text(metadata.created) if metadata.created is not None else None,
        },
        blobs,
    )


def base_digest(manifest: Manifest, metadata: Metadata, find: Callable[[Reference], str | None]) -> str | None:
    """The version that an adapter or steering vector cannot do without, if it says which.

    Args:
        find: the digest of a name in the library.
    """
    if not metadata.kind.needs_base:
        return None
    if metadata.base is not None:
        if is_digest(metadata.base):
            return metadata.base
        try:
            reference = Reference.parse(metadata.base)
        except InvalidReference:
            pass  # a name from elsewhere, such as a repository of the Hugging Face hub
        else:
            found = reference.digest or find(reference)
            if found is not None:
                return found
    made = decode(Lineage, manifest.annotations, LINEAGE_ANNOTATION)
    inputs = made.inputs if made is not None else []
    return next((item.digest for item in inputs if item.role == "base" and item.digest), None)


def lineage_rows(manifest: Manifest, name: Reference | None, received: Lineage | None) -> list[LineageRow]:
    """The steps to record: the one that made the version, which its manifest carries, and the one that brought it."""
    made = decode(Lineage, manifest.annotations, LINEAGE_ANNOTATION)
    return [
        LineageRow(
            version=manifest.digest,
            step=step.step,
            name=str(name.without_digest()) if name is not None else None,
            document=step.model_dump_json(exclude_none=True),
            inputs=tuple((item.role, item.digest, item.reference) for item in step.inputs),
        )
        for step in (made, received)
        if step is not None
    ]
