"""Manifests: the OCI image manifest that describes a version, with the media types of the CNCF ModelPack specification.

A manifest may come from anybody's registry, so reading one checks everything that later code relies on. Its identity
is the digest of its bytes; bytes that were received are therefore kept as they are and never written anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from llmasos.errors import IntegrityError
from llmasos.i18n import t
from llmasos.library.artifact_path import check_paths
from llmasos.library.digest import digest_of, is_digest
from llmasos.library.kind import Kind
from llmasos.library.metadata import Metadata

__all__ = ["Descriptor", "Kind", "Manifest", "Metadata", "media_type_for"]

MANIFEST_MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_MEDIA_TYPE = "application/vnd.cncf.model.config.v1+json"
WEIGHT = "application/vnd.cncf.model.weight.v1.raw"
WEIGHT_CONFIG = "application/vnd.cncf.model.weight.config.v1.raw"
DOC = "application/vnd.cncf.model.doc.v1.raw"
CODE = "application/vnd.cncf.model.code.v1.raw"
DATASET = "application/vnd.cncf.model.dataset.v1.raw"

FILEPATH = "org.cncf.model.filepath"
TITLE = "org.opencontainers.image.title"  # what `oras pull` names the file

MAX_MANIFEST_BYTES = 4 * 2**20  # what registries accept
MAX_LAYERS = 20_000
MAX_BLOB_BYTES = 2**50

_BY_SUFFIX = {
    **dict.fromkeys((".safetensors", ".gguf", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".npz", ".npy", ".h5"), WEIGHT),
    **dict.fromkeys((".md", ".rst", ".html", ".pdf", ".png", ".jpg", ".jpeg", ".svg"), DOC),
    **dict.fromkeys((".py", ".sh", ".ipynb", ".c", ".cpp", ".cu", ".js"), CODE),
    **dict.fromkeys((".jsonl", ".csv", ".tsv", ".parquet", ".arrow", ".jsonl.gz", ".jsonl.zst"), DATASET),
}
_DOC_NAMES = ("license", "licence", "notice", "readme", "copying", "use_policy", "changelog", "authors")


def media_type_for(path: str) -> str:
    """The ModelPack media type of a file, by its name: weights, their configuration, documentation, code or data.

    Everything else that lies beside the weights (config.json, tokenizer.json, vocab.txt, merges.txt, *.jinja,
    *.model, ...) is configuration of the weights.
    """
    name = PurePosixPath(path).name.lower()
    if name.split(".")[0].rstrip("-_0123456789") in _DOC_NAMES:
        return DOC
    for suffix, media_type in _BY_SUFFIX.items():
        if name.endswith(suffix):
            return media_type
    return WEIGHT_CONFIG


@dataclass(frozen=True)
class Descriptor:
    """What a manifest says of one blob: media type, digest, size in bytes, annotations."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str | None:
        """The file's path in the artefact; ``None`` for a blob that is no file (the configuration)."""
        return self.annotations.get(FILEPATH) or self.annotations.get(TITLE)

    def with_path(self, path: str) -> Descriptor:
        """The same blob as the file ``path``, with the media type that the name asks for."""
        return Descriptor(media_type_for(path), self.digest, self.size, {FILEPATH: path, TITLE: path})

    def to_json(self) -> dict[str, Any]:
        """The OCI form."""
        data: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.annotations:
            data["annotations"] = dict(self.annotations)
        return data


@dataclass(frozen=True)
class Manifest:
    """A version: its configuration, its files and annotations."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str = ARTIFACT_TYPE
    raw: bytes | None = field(default=None, repr=False, compare=False)

    def to_bytes(self) -> bytes:
        """The bytes as received, else canonical JSON: sorted keys, no spaces, UTF-8."""
        if self.raw is not None:
            return self.raw
        data: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_MEDIA_TYPE,
            "artifactType": self.artifact_type,
            "config": self.config.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
        }
        if self.annotations:
            data["annotations"] = dict(self.annotations)
        return canonical_json(data)

    @cached_property
    def digest(self) -> str:
        """The identity of the version."""
        return digest_of(self.to_bytes())

    @cached_property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(layer.size for layer in self.layers)

    @cached_property
    def files(self) -> dict[str, Descriptor]:
        """The files by path."""
        return {layer.path: layer for layer in self.layers if layer.path is not None}

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Configuration and files."""
        return (self.config, *self.layers)

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Read a manifest and check it.

        Raises:
            IntegrityError: it is not JSON, not an OCI image manifest, or a field is missing or not allowed.
            UnsafeContent: a file path leaves the artefact or two paths collide.
        """
        if len(data) > MAX_MANIFEST_BYTES:
            raise _invalid(
                t("it has {size} bytes, at most {limit} are allowed", size=len(data), limit=MAX_MANIFEST_BYTES)
            )
        document = parse_json(data)
        if not isinstance(document, dict):
            raise _invalid(t("it is not a JSON object"))
        if document.get("schemaVersion") != 2 or isinstance(document.get("schemaVersion"), bool):
            raise _invalid(t("schemaVersion is {value!r}, 2 is needed", value=document.get("schemaVersion")))
        media_type = document.get("mediaType", MANIFEST_MEDIA_TYPE)
        if media_type != MANIFEST_MEDIA_TYPE:
            raise _invalid(
                t("mediaType is {value!r}, {allowed!r} is needed", value=media_type, allowed=MANIFEST_MEDIA_TYPE)
            )
        layers = document.get("layers")
        if not isinstance(layers, list):
            raise _invalid(t("'layers' is not a list"))
        if len(layers) > MAX_LAYERS:
            raise _invalid(t("it has {count} layers, at most {limit} are allowed", count=len(layers), limit=MAX_LAYERS))
        config = _read_descriptor(document.get("config"), "config")
        manifest = cls(
            config=config,
            layers=tuple(_read_descriptor(layer, f"layers[{index}]") for index, layer in enumerate(layers)),
            annotations=_read_annotations(document.get("annotations"), "annotations"),
            # OCI: without an artifactType, the media type of the configuration stands for it.
            artifact_type=_read_text(document.get("artifactType", config.media_type), "artifactType"),
            raw=data,
        )
        for index, layer in enumerate(manifest.layers):
            if layer.path is None:
                raise _invalid(t("layers[{index}] has no {annotation!r} annotation", index=index, annotation=FILEPATH))
        check_paths(path for layer in manifest.layers if (path := layer.path) is not None)
        return manifest


def canonical_json(data: Any) -> bytes:
    """JSON that is always the same bytes for the same data."""
    return json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("utf-8")


def parse_json(data: bytes) -> Any:
    """Read untrusted JSON strictly: valid UTF-8, no duplicate keys, no NaN.

    Raises:
        IntegrityError: it is anything else.
    """
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except RecursionError as error:
        raise _invalid(t("its JSON is nested too deeply")) from error
    except ValueError as error:  # not UTF-8, not JSON, or a number with too many digits
        raise _invalid(t("it is not valid JSON: {error}", error=error)) from error


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _invalid(t("the key {key!r} comes twice", key=twice))
    return found


def _no_constant(name: str) -> Any:
    raise _invalid(t("{value} is not a JSON number", value=name))


def _invalid(reason: str) -> IntegrityError:
    return IntegrityError(
        t("not a valid manifest: {reason}", reason=reason),
        hint=t("The artefact is damaged or was not made by a tool that follows the OCI specification; pull it again."),
    )


def _read_descriptor(value: Any, where: str) -> Descriptor:
    if not isinstance(value, dict):
        raise _invalid(t("{where} is not an object", where=where))
    digest = value.get("digest")
    if not isinstance(digest, str) or not is_digest(digest):
        raise _invalid(t("{where}.digest is {value!r}, a sha256 digest is needed", where=where, value=digest))
    size = value.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_BLOB_BYTES:
        raise _invalid(t("{where}.size is {value!r}, a number of bytes is needed", where=where, value=size))
    return Descriptor(
        media_type=_read_text(value.get("mediaType"), f"{where}.mediaType"),
        digest=digest,
        size=size,
        annotations=_read_annotations(value.get("annotations"), f"{where}.annotations"),
    )


def _read_text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value or not _is_unicode(value):
        raise _invalid(t("{where} is {value!r}, text is needed", where=where, value=value))
    return value


def _is_unicode(text: str) -> bool:
    """JSON escapes can spell half of a surrogate pair, which no later step can store."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _read_annotations(value: Any, where: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(
        isinstance(item, str) and _is_unicode(item) and _is_unicode(key) for key, item in value.items()
    ):
        raise _invalid(t("{where} is not an object of texts", where=where))
    return value
