"""Getting the files of a task: from the folder that the user gave, the cache, Hugging Face or an address.

Nothing is fetched at import. What a task names a checksum for is checked whenever it is read.
"""

from __future__ import annotations

import glob
import hashlib
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import unquote, urlsplit

from llmasos.errors import IntegrityError, NotFound, Unauthorised, Unavailable, did_you_mean
from llmasos.evaluation.data.options import HubFile, LocalFile, UrlFile
from llmasos.i18n import t
from llmasos.library.digest import digest_of_file
from llmasos.settings import get_settings


@dataclass(frozen=True)
class Places:
    """Where files may be.

    Attributes:
        task: name of the task, also of a folder in ``data``.
        folder: that relative paths of the task file start from.
        data: the folder given by the user.
        unchecked: take files of ``data`` whose checksum differs from that of the task.
    """

    task: str
    folder: Path
    data: Path | None = None
    unchecked: bool = False


@dataclass(frozen=True)
class Fetched:
    """A file on this machine, and what is to be said of it."""

    path: Path
    digest: str
    """``sha256:...``"""
    note: str | None = None


def fetch(file: HubFile | UrlFile | LocalFile, places: Places) -> Fetched:
    """The file on this machine, its checksum checked.

    Raises:
        NotFound: it is nowhere; the hint says how to get it.
        Unavailable, Unauthorised: it cannot be fetched.
        IntegrityError: its checksum differs from that of the task.
    """
    given = _in_given_folder(file, places)
    path = given if given is not None else _obtain(file, places)
    digest = digest_of_file(path)
    expected = None if file.sha256 is None else f"sha256:{file.sha256}"
    note = None
    if expected is None:
        note = t("{path} has no checksum in the task: {digest}", path=name_of(file), digest=digest)
    elif digest != expected:
        if given is None or not places.unchecked:
            raise IntegrityError(
                t("{path} is not the file of the task {task}: its SHA-256 is {found}, not {expected}", path=path,
                  task=places.task, found=digest.removeprefix("sha256:"), expected=file.sha256),
                hint=t("Get the file again; or pass --unchecked-data to use your own, which the result will say."),
            )  # fmt: skip
        note = t("{path} differs from the data of the task: {digest}", path=name_of(file), digest=digest)
    return Fetched(path if file.member is None else _member(path, file.member, digest), digest, note)


def name_of(file: HubFile | UrlFile | LocalFile) -> str:
    """What people call the file: its path or address."""
    if isinstance(file, HubFile):
        return f"{file.repository}/{file.path}"
    return file.url if isinstance(file, UrlFile) else file.path


def _in_given_folder(file: HubFile | UrlFile | LocalFile, places: Places) -> Path | None:
    """The file in the folder of the user, under one of the names that it may have there."""
    if places.data is None:
        return None
    inner = unquote(urlsplit(file.url).path).lstrip("/") if isinstance(file, UrlFile) else file.path
    base = PurePosixPath(inner).name
    names = [file.name] if file.name is not None else []
    names += [inner, f"{places.task}/{inner}", f"{places.task}/{base}", base]
    found = (places.data / name for name in names if not PurePosixPath(name).is_absolute())
    path = next((path for path in found if path.is_file()), None)
    if path is not None or file.sha256 is None:
        return path
    # Anywhere below, if it is the very file.
    others = (path for path in sorted(places.data.rglob(glob.escape(base))) if path.is_file())
    return next((path for path in others if digest_of_file(path) == f"sha256:{file.sha256}"), None)


def _obtain(file: HubFile | UrlFile | LocalFile, places: Places) -> Path:
    if isinstance(file, LocalFile):
        path = places.folder / Path(file.path).expanduser()
        if not path.is_file():
            raise _missing(file, places, t("there is no file {path}", path=path))
        return path
    return _from_hub(file, places) if isinstance(file, HubFile) else _from_url(file, places)


def _missing(file: HubFile | UrlFile | LocalFile, places: Places, problem: object) -> NotFound:
    return NotFound(
        t("the data of the task {task} is not here: {problem}", task=places.task, problem=problem),
        hint=_how_to_get(file, places),
    )


def _how_to_get(file: HubFile | UrlFile | LocalFile, places: Places) -> str:
    base = file.name or PurePosixPath(file.path if not isinstance(file, UrlFile) else urlsplit(file.url).path).name
    return t(
        "Get {name} on a machine with network, put it into a folder as {place}, and pass --data FOLDER.",
        name=name_of(file), place=file.name or f"{places.task}/{base}",
    )  # fmt: skip


def cache_folder() -> Path:
    """Where fetched data is kept."""
    return get_settings().home / "cache" / "evaluation"


def is_here(file: HubFile | UrlFile | LocalFile, places: Places) -> bool:
    """Whether a file is on this machine, so that nothing need be fetched. Its checksum is not looked at."""
    if _in_given_folder(file, places) is not None:
        return True
    if isinstance(file, LocalFile):
        return (places.folder / Path(file.path).expanduser()).is_file()
    if isinstance(file, UrlFile):
        return _place_in_cache(file).is_file()
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(file.repository, file.path, revision=file.revision, repo_type="dataset")
    return isinstance(found, str)


def _place_in_cache(file: UrlFile) -> Path:
    key = file.sha256 or hashlib.sha256(file.url.encode()).hexdigest()
    base = PurePosixPath(unquote(urlsplit(file.url).path)).name or "data"
    return cache_folder() / key[:32] / base


def _from_url(file: UrlFile, places: Places) -> Path:
    from llmasos.library.sources.download import Checksum, Download
    from llmasos.library.sources.download import fetch as download
    from llmasos.library.sources.transport import HttpTransport, open_client

    target = _place_in_cache(file)
    if target.is_file():
        return target
    checksum = None if file.sha256 is None else Checksum("sha256", file.sha256)
    transport = HttpTransport(open_client())
    try:
        download([Download(file.url, target, checksum=checksum)], transport, label=t("fetch {name}", name=target.name))
    except (NotFound, Unavailable) as error:
        raise type(error)(
            t("the data of the task {task} cannot be fetched: {problem}", task=places.task, problem=error.message),
            hint=_how_to_get(file, places),
        ) from error
    finally:
        transport.close()
    return target


def _from_hub(file: HubFile, places: Places) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    from llmasos.library.sources.hub import endpoint

    try:
        # Its cache is the hub client's own, shared with other programs.
        found = hf_hub_download(
            file.repository, file.path, repo_type="dataset", revision=file.revision, endpoint=endpoint()
        )
        return Path(found)
    except GatedRepoError as error:
        raise Unauthorised(
            t("{name} asks to accept its terms first", name=file.repository),
            hint=t("Accept them on its page on Hugging Face, then sign in with `hf auth login`."),
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        if isinstance(error, RepositoryNotFoundError | RevisionNotFoundError | EntryNotFoundError) and not isinstance(
            error, LocalEntryNotFoundError
        ):
            raise _missing(file, places, _first_line(error)) from error
        raise Unavailable(
            t("the data of the task {task} cannot be fetched: {problem}", task=places.task, problem=_first_line(error)),
            hint=_how_to_get(file, places),
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _member(path: Path, member: str, digest: str) -> Path:
    """One file of an archive, copied into the cache under the archive's digest. Nothing else is unpacked."""
    folder = cache_folder() / digest.removeprefix("sha256:")[:32] / "members"
    target = folder / hashlib.sha256(member.encode()).hexdigest()[:16] / PurePosixPath(member).name
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    try:
        with _opened_member(path, member) as source, partial.open("wb") as out:
            shutil.copyfileobj(source, out)
        partial.replace(target)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise IntegrityError(
            t("{path} is damaged: {problem}", path=path, problem=error), hint=t("Get the file again.")
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return target


@contextmanager
def _opened_member(path: Path, member: str) -> Iterator[IO[bytes]]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if member not in archive.namelist():
                raise _no_member(path, member, archive.namelist())
            with archive.open(member) as source:
                yield source
        return
    with tarfile.open(path) as tar:
        try:
            found = tar.extractfile(member)
        except KeyError:
            found = None
        if found is None:
            raise _no_member(path, member, tar.getnames())
        yield found


def _no_member(path: Path, member: str, names: list[str]) -> NotFound:
    near = did_you_mean(member, names) or t("It has: {names}.", names=", ".join(sorted(names)[:10]) or "-")
    return NotFound(t("{path} has no file {member}", path=path, member=member), hint=near)
