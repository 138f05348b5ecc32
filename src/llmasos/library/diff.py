"""Differences between two versions: metadata, files by digest, and tensors by type, shape and digest."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from llmasos import progress
from llmasos.i18n import t
from llmasos.library.safetensors_header import TensorEntry, read_header, tensor_digest

if TYPE_CHECKING:
    from llmasos.library.store import Library, Version

Change = Literal["added", "removed", "changed"]


@dataclass(frozen=True)
class FieldDifference:
    """A metadata field with two values."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True)
class FileDifference:
    """A file that only one version has, or whose bytes differ. Sizes are in bytes."""

    path: str
    change: Change
    before: str | None = None
    after: str | None = None
    size_before: int | None = None
    size_after: int | None = None


@dataclass(frozen=True)
class TensorDifference:
    """A tensor that only one version has, or that differs; ``differs`` says in what: dtype, shape, values."""

    name: str
    change: Change
    differs: tuple[Literal["dtype", "shape", "values"], ...] = ()
    dtype_before: str | None = None
    dtype_after: str | None = None
    shape_before: tuple[int, ...] | None = None
    shape_after: tuple[int, ...] | None = None


@dataclass
class VersionDifference:
    """All differences; equal files and tensors are only counted."""

    before: str
    after: str
    metadata: list[FieldDifference] = field(default_factory=list)
    files: list[FileDifference] = field(default_factory=list)
    equal_files: int = 0
    tensors: list[TensorDifference] = field(default_factory=list)
    equal_tensors: int = 0

    @property
    def same(self) -> bool:
        """Whether there is no difference at all."""
        return not (self.metadata or self.files or self.tensors)


def compare(library: Library, before: Version, after: Version) -> VersionDifference:
    """Compare two versions.

    Tensors are compared by name over all safetensors files of a version, so the same weights in other shards are
    equal. Values are compared by the SHA-256 of their bytes.

    Raises:
        IntegrityError: a blob is missing or a safetensors file is damaged.
    """
    result = VersionDifference(before.digest, after.digest)
    left, right = before.metadata.model_dump(mode="json"), after.metadata.model_dump(mode="json")
    result.metadata = [FieldDifference(key, left[key], right[key]) for key in left if left[key] != right[key]]
    _compare_files(before, after, result)
    _compare_tensors(library, before, after, result)
    return result


def _compare_files(before: Version, after: Version, result: VersionDifference) -> None:
    left, right = before.manifest.files, after.manifest.files
    for path in sorted(left.keys() | right.keys()):
        old, new = left.get(path), right.get(path)
        if old is not None and new is not None and old.digest == new.digest:
            result.equal_files += 1
            continue
        change: Change = "added" if old is None else "removed" if new is None else "changed"
        result.files.append(
            FileDifference(
                path,
                change,
                old.digest if old else None,
                new.digest if new else None,
                old.size if old else None,
                new.size if new else None,
            )
        )


@dataclass(frozen=True)
class _Located:
    """A tensor and the blob it lies in."""

    blob: str
    entry: TensorEntry


def _tensors(library: Library, version: Version) -> dict[str, _Located]:
    found: dict[str, _Located] = {}
    for path, file in version.manifest.files.items():
        if path.endswith(".safetensors"):
            library.blobs.size(file.digest)  # a missing blob is reported as such
            named = f"{version.names[0] if version.names else version.digest}: {path}"
            header, _ = read_header(library.blobs.path(file.digest), name=named)
            found |= {name: _Located(file.digest, entry) for name, entry in header.items()}
    return found


def _compare_tensors(library: Library, before: Version, after: Version, result: VersionDifference) -> None:
    left, right = _tensors(library, before), _tensors(library, after)
    for name in sorted(left.keys() ^ right.keys()):
        if name in left:
            entry = left[name].entry
            result.tensors.append(TensorDifference(name, "removed", dtype_before=entry.dtype, shape_before=entry.shape))
        else:
            entry = right[name].entry
            result.tensors.append(TensorDifference(name, "added", dtype_after=entry.dtype, shape_after=entry.shape))
    common = sorted(left.keys() & right.keys())
    total = sum(left[name].entry.end - left[name].entry.begin for name in common)
    with ExitStack() as opened, progress.current().task(t("compare tensors"), total=total, unit="B") as task:
        files: dict[str, BinaryIO] = {}
        for digest in {tensors[name].blob for tensors in (left, right) for name in common}:
            files[digest] = opened.enter_context(library.blobs.open(digest))
        for name in common:
            difference = _compare_tensor(name, left[name], right[name], files)
            if difference is None:
                result.equal_tensors += 1
            else:
                result.tensors.append(difference)
            task.advance(left[name].entry.end - left[name].entry.begin)


def _compare_tensor(name: str, old: _Located, new: _Located, files: dict[str, BinaryIO]) -> TensorDifference | None:
    if old == new:  # the same bytes of the same blob
        return None
    differs: list[Literal["dtype", "shape", "values"]] = []
    if old.entry.dtype != new.entry.dtype:
        differs.append("dtype")
    if old.entry.shape != new.entry.shape:
        differs.append("shape")
    if tensor_digest(files[old.blob], old.entry) != tensor_digest(files[new.blob], new.entry):
        differs.append("values")
    if not differs:
        return None
    return TensorDifference(
        name, "changed", tuple(differs), old.entry.dtype, new.entry.dtype, old.entry.shape, new.entry.shape
    )
