"""Verification: whether every byte of the library is what it was when it was published."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos.errors import IntegrityError, LLMasOSError, NotFound
from llmasos.i18n import t
from llmasos.library.digest import digest_of_file, hex_of
from llmasos.library.manifest import Manifest

if TYPE_CHECKING:
    from llmasos.library.store import Library


class Trouble(StrEnum):
    """What can be wrong."""

    MISSING = "missing"
    SIZE = "size"
    DAMAGED = "damaged"
    MANIFEST = "manifest"
    CATALOGUE = "catalogue"
    VIEW = "view"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: with which blob, in which versions (names, else digests) and files."""

    trouble: Trouble
    message: str
    digest: str | None = None
    versions: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


@dataclass
class VerifyReport:
    """What was checked and what is wrong."""

    versions: int = 0
    blobs: int = 0
    bytes: int = 0
    problems: list[Problem] = field(default_factory=list)
    unneeded: int = 0  # blobs that no version needs: no harm, garbage collection removes them

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@dataclass
class _Use:
    """Who needs a blob."""

    size: int
    versions: dict[str, str] = field(default_factory=dict)  # digest -> name for people
    paths: dict[str, None] = field(default_factory=dict)


def verify_all(library: Library) -> VerifyReport:
    """Check the catalogue, every blob that a version needs, and the views."""
    report = VerifyReport()
    damage = library.catalogue.database.check()
    if damage is not None:
        report.problems.append(
            Problem(Trouble.CATALOGUE, t("the file of the catalogue is damaged: {reason}", reason=damage))
        )
    _verify(library, [row.digest for row in library.catalogue.rows()], report)
    with library.catalogue.database.read() as connection:
        needed = library.catalogue.needed_blobs(connection)
    report.unneeded = sum(digest not in needed for digest in library.blobs.digests())
    return report


def verify_version(library: Library, digest: str) -> VerifyReport:
    """Check every blob of one version, and its view."""
    report = VerifyReport()
    _verify(library, [digest], report)
    return report


def _verify(library: Library, digests: list[str], report: VerifyReport) -> None:
    uses: dict[str, _Use] = {}
    manifests: list[Manifest] = []
    for digest in digests:
        try:
            manifests.append(_check_version(library, digest, uses))
        except NotFound:
            continue  # another process has just removed it
        except LLMasOSError as error:
            if library.catalogue.exists(digest):
                name = _name(library, digest)
                report.problems.append(Problem(Trouble.MANIFEST, error.message, digest, (name,)))
    report.versions = len(digests)
    problems = library.blobs.verify_all({digest: use.size for digest, use in uses.items()}, t("verify"))
    for digest, problem in sorted(problems.items()):
        use = uses[digest]
        if any(library.catalogue.exists(version) for version in use.versions):  # else it was removed meanwhile
            names = tuple(sorted(set(use.versions.values())))
            report.problems.append(Problem(Trouble(problem.trouble), problem.message, digest, names, tuple(use.paths)))
    report.blobs = len(uses)
    report.bytes = sum(use.size for use in uses.values())
    for manifest in manifests:
        report.problems.extend(_check_view(library, manifest))


def _name(library: Library, digest: str) -> str:
    rows = library.catalogue.rows(digest=digest)
    return rows[0].names[0] if rows and rows[0].names else digest


def _check_version(library: Library, digest: str, uses: dict[str, _Use]) -> Manifest:
    """Read the manifest, compare it with the catalogue, and note the blobs it needs."""
    manifest, _ = library.read_manifest(digest)
    with library.catalogue.database.read() as connection:
        recorded = {(file.path, file.digest, file.size) for file in library.catalogue.files_of(digest, connection)}
    if not recorded:
        raise NotFound(digest)
    expected = {(None, digest, len(manifest.to_bytes()))} | {(b.path, b.digest, b.size) for b in manifest.layers}
    expected.add((None, manifest.config.digest, manifest.config.size))
    if recorded != expected:
        raise IntegrityError(t("the catalogue lists other files for {digest} than its manifest", digest=digest))
    name = _name(library, digest)
    for path, blob, size in sorted(expected, key=str):
        use = uses.setdefault(blob, _Use(size))
        use.versions[digest] = name
        if path is not None:
            use.paths[path] = None
    return manifest


def _check_view(library: Library, manifest: Manifest) -> Iterator[Problem]:
    """Check the files of a view that are not links to the blobs, which were checked already."""
    folder = library.home / "views" / hex_of(manifest.digest)
    if not folder.is_dir():
        return
    for path, layer in manifest.files.items():
        file = folder / path
        if not _is_sound(file, library.blobs.path(layer.digest), layer.digest):
            yield Problem(
                Trouble.VIEW,
                t("{file} is not the file that was published; the next load puts it right", file=file),
                layer.digest,
                (_name(library, manifest.digest),),
                (path,),
            )


def _is_sound(file: Path, blob: Path, digest: str) -> bool:
    try:
        return (blob.exists() and file.samefile(blob)) or digest_of_file(file) == digest
    except FileNotFoundError:
        return not file.parent.exists()  # the view went meanwhile; a missing file in a present folder is damage
