"""The Hugging Face hub: ``hf:org/repo[@revision]``.

The huggingface_hub library speaks to the hub (repositories, revisions, tokens, ``HF_ENDPOINT`` mirrors, errors); the
bytes come through our own download loop, because the library, since version 2, starts an interrupted file from its
beginning, and so does its Xet transfer. Every file that the hub stores as LFS is checked against its SHA-256, every
other against its git object name.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos import __version__
from llmasos.errors import NotFound, Unauthorised, Unavailable
from llmasos.i18n import t
from llmasos.library.artifact_path import check_paths
from llmasos.library.digest import digest_of_file
from llmasos.library.sources.download import Checksum, Download, fetch
from llmasos.library.sources.fetched import Fetched, Origin
from llmasos.library.sources.hub_files import select_files
from llmasos.library.sources.reference import HubSource
from llmasos.library.sources.transport import HttpTransport, describe, open_client
from llmasos.settings import get_settings

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo

logger = logging.getLogger(__name__)

DEFAULT_ENDPOINT = "https://huggingface.co"


@dataclass(frozen=True)
class HubFile:
    """A file of a repository at one commit."""

    path: str
    size: int | None
    checksum: Checksum | None


@dataclass(frozen=True)
class HubRepository:
    """A repository at one commit, as the hub describes it."""

    source: HubSource
    commit: str
    files: tuple[HubFile, ...]
    gated: bool
    license: str | None
    license_url: str | None
    languages: tuple[str, ...]

    @property
    def pinned(self) -> HubSource:
        """The reference with the commit as its revision."""
        return HubSource(self.source.repository, self.commit, self.source.file)


def endpoint() -> str:
    """The hub or its mirror: ``HF_ENDPOINT``, read when it is needed."""
    return (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


def locate_repository(source: HubSource) -> HubRepository:
    """Ask the hub for a repository.

    Raises:
        NotFound: the repository or revision does not exist, or is private and nobody is signed in.
        Unauthorised: it is gated, or the token is not accepted.
        Unavailable: the hub cannot be reached.
    """
    api = _api()
    with _hub_errors(source):
        info = api.model_info(
            source.repository, revision=source.revision, files_metadata=True, timeout=get_settings().download_timeout
        )
    if not info.sha:
        raise Unavailable(
            t("{endpoint} did not say which commit {source} is", endpoint=endpoint(), source=source),
            hint=t("Check that HF_ENDPOINT names a hub or a complete mirror of it."),
        )
    license, license_url, languages = _card_facts(info)
    return HubRepository(source, info.sha, _files(info), bool(info.gated), license, license_url, languages)


def fetch_repository(repository: HubRepository, directory: Path) -> Fetched:
    """Put the needed files into ``directory/files``; called again after a kill it continues.

    Raises:
        Unauthorised: the repository is gated and this account has not accepted its terms.
        NotFound, Unavailable, IntegrityError, OutOfDisk, UnsafeContent, Unsupported: as they say.
    """
    source = repository.pinned
    known = Fetched.recall(directory, source.identity)
    if known is not None:
        return known
    selection = select_files(source.repository, [file.path for file in repository.files], source.file)
    check_paths(selection.taken)
    files = [file for file in repository.files if file.path in selection.taken]
    _check_access(repository, files)
    folder = directory / "files"
    files = list(_with_sizes(repository, files))
    downloads = [_download(source, file, folder) for file in files]
    with _transport() as transport:
        fetch(
            downloads,
            transport,
            label=t("download {name}", name=source.repository),
            extra_space=sum(item.size or 0 for item in downloads),
        )
    if selection.left_out:
        size = sum(file.size or 0 for file in repository.files if file.path in selection.left_out)
        logger.info("%s: %d files (%d bytes) left out", source, len(selection.left_out), size)
    fetched = Fetched(
        folder,
        source=str(source),
        origins=tuple(_origin(item, folder) for item in downloads),
        license=repository.license,
        license_url=repository.license_url,
        languages=repository.languages,
        left_out=selection.left_out,
    )
    fetched.remember(directory, source.identity)
    return fetched


def _origin(item: Download, folder: Path) -> Origin:
    checksum = item.checksum
    if checksum is not None and checksum.algorithm == "sha256":
        digest = f"sha256:{checksum.value}"  # the download was checked against it
    else:
        digest = digest_of_file(item.target)
    return Origin(item.target.relative_to(folder).as_posix(), digest)


def search_hub(query: str, limit: int) -> list[tuple[str, str | None, int]]:
    """Text models of the hub that match: repository, task, downloads in the last month; most downloaded first.

    Raises:
        Unavailable: the hub cannot be reached.
    """
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status  # type: ignore[attr-defined]

    # HfApi.list_models tries five times over half a minute, too long for somebody who waits for a list.
    with _hub_errors(None):
        response = get_session().get(
            f"{endpoint()}/api/models",
            params={"search": query, "sort": "downloads", "direction": -1, "limit": limit},
            headers=build_hf_headers(library_name="llmasos", library_version=__version__),
            timeout=min(20.0, get_settings().download_timeout),
        )
        hf_raise_for_status(response)
        return [
            (str(model["id"]), model.get("pipeline_tag"), int(model.get("downloads") or 0)) for model in response.json()
        ]


def sign_in(token: str) -> str:
    """Check a token and keep it where huggingface_hub and its tools look for it; returns the account's name.

    Raises:
        Unauthorised: the hub does not accept the token.
        Unavailable: the hub cannot be reached.
    """
    from huggingface_hub import login

    with _hub_errors(None):
        name = str(_api(token).whoami()["name"])
        login(token=token, add_to_git_credential=False, skip_if_logged_in=False)
    return name


def sign_out() -> bool:
    """Forget the kept token; ``False`` if there was none."""
    from huggingface_hub import get_token, logout

    present = get_token() is not None
    logout()
    return present


def has_token() -> bool:
    """Whether a token is kept or in the environment, by the hub's own rules, without importing its library."""
    if os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN"):
        return True
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    path = Path(os.environ.get("HF_TOKEN_PATH") or Path(home) / "token").expanduser()
    try:
        return bool(path.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError):
        return False


def _api(token: str | None = None) -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(endpoint=endpoint(), token=token, library_name="llmasos", library_version=__version__)


@contextmanager
def _transport() -> Iterator[HttpTransport]:
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    headers = build_hf_headers(library_name="llmasos", library_version=__version__)
    transport = HttpTransport(open_client(headers=headers))
    try:
        yield transport
    finally:
        transport.close()


def _url(source: HubSource, path: str) -> str:
    from huggingface_hub import hf_hub_url

    return hf_hub_url(source.repository, path, revision=source.revision, endpoint=endpoint())


def _download(source: HubSource, file: HubFile, folder: Path) -> Download:
    return Download(_url(source, file.path), folder / file.path, file.size, file.checksum)


def _files(info: ModelInfo) -> tuple[HubFile, ...]:
    files = []
    for sibling in info.siblings or []:
        checksum = None
        if sibling.lfs is not None and sibling.lfs.sha256:
            checksum = Checksum("sha256", sibling.lfs.sha256)
        elif sibling.blob_id and sibling.size is not None:
            checksum = Checksum("git-sha1", sibling.blob_id)
        files.append(HubFile(sibling.rfilename, sibling.size, checksum))
    return tuple(files)


def _check_access(repository: HubRepository, files: Sequence[HubFile]) -> None:
    """Ask for one file before the downloads: a gated repository describes itself to everybody, but refuses files."""
    from huggingface_hub import get_hf_file_metadata

    if files:
        with _hub_errors(repository.source):
            get_hf_file_metadata(
                _url(repository.pinned, files[0].path),
                timeout=get_settings().download_timeout,
                library_name="llmasos",
                library_version=__version__,
                endpoint=endpoint(),
            )


def _with_sizes(repository: HubRepository, files: Sequence[HubFile]) -> Iterator[HubFile]:
    """Complete what a mirror did not tell of its files by asking for each."""
    from huggingface_hub import get_hf_file_metadata

    for file in files:
        if file.size is not None and file.checksum is not None:
            yield file
            continue
        with _hub_errors(repository.source):
            metadata = get_hf_file_metadata(
                _url(repository.pinned, file.path),
                timeout=get_settings().download_timeout,
                library_name="llmasos",
                library_version=__version__,
                endpoint=endpoint(),
            )
        checksum = file.checksum
        if metadata.etag and len(metadata.etag) == 64:
            checksum = Checksum("sha256", metadata.etag)
        elif metadata.etag and len(metadata.etag) == 40 and metadata.size is not None:
            checksum = Checksum("git-sha1", metadata.etag)
        yield HubFile(file.path, metadata.size, checksum)


def _card_facts(info: ModelInfo) -> tuple[str | None, str | None, tuple[str, ...]]:
    """Licence, its address and languages from the head of the repository's README."""
    card = info.card_data
    if card is None:
        return None, None, ()
    license = card.get("license")
    if license == "other" and card.get("license_name"):
        license = card.get("license_name")
    languages = card.get("language") or []
    if isinstance(languages, str):
        languages = [languages]
    link = card.get("license_link")
    return (
        str(license) if license else None,
        str(link) if link and str(link).startswith("http") else None,
        tuple(str(language) for language in languages),
    )


@contextmanager
def _hub_errors(source: HubSource | None) -> Iterator[None]:
    """Say in our words what the hub answered."""
    from huggingface_hub import errors

    repository = source.repository if source else ""
    page = f"{endpoint()}/{repository}"
    try:
        yield
    except errors.GatedRepoError as error:
        raise Unauthorised(
            t("hf:{repository} is gated: its authors want you to accept their terms first", repository=repository),
            hint=t(
                "Sign in and accept the terms at {page}, then run `llmasos login hf` with a token of that account.",
                page=page,
            ),
        ) from error
    except errors.RevisionNotFoundError as error:
        raise NotFound(
            t(
                "hf:{repository} has no revision {revision}",
                repository=repository,
                revision=source.revision if source else "",
            ),
            hint=t("See the branches, tags and commits at {page}.", page=f"{page}/commits/main"),
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise NotFound(
            t(
                "there is no hf:{repository} at {endpoint}, or it is private",
                repository=repository,
                endpoint=endpoint(),
            ),
            hint=t("Check the name; for a private repository run `llmasos login hf` first."),
        ) from error
    except errors.HFValidationError as error:
        raise NotFound(
            t("hf:{repository} is not a name that the hub knows: {error}", repository=repository, error=error)
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise Unauthorised(
                t(
                    "{endpoint} answered {status}: the token is missing, wrong or may not read this",
                    endpoint=endpoint(),
                    status=status,
                ),
                hint=t("Run `llmasos login hf`, or set HF_TOKEN."),
            ) from error
        raise Unavailable(t("{endpoint} answered {status}", endpoint=endpoint(), status=status)) from error
    except errors.OfflineModeIsEnabled as error:
        raise Unavailable(
            t("the hub is switched off by HF_HUB_OFFLINE"),
            hint=t("Unset HF_HUB_OFFLINE to reach {endpoint}.", endpoint=endpoint()),
        ) from error
    except (ValueError, KeyError, TypeError) as error:  # a page of a hotel's network instead of the hub's answer
        raise Unavailable(
            t("{endpoint} gave an answer that is not a hub's: {error}", endpoint=endpoint(), error=describe(error)),
            hint=t("Check the network and that HF_ENDPOINT names a hub or a complete mirror of it."),
        ) from error
    except (errors.FileMetadataError, errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]
        raise Unavailable(
            t("{endpoint} cannot be reached: {error}", endpoint=endpoint(), error=describe(error)),
            hint=t(
                "Check the network, or set HF_ENDPOINT to a mirror. Models that travel in PyPI packages need no hub; "
                "see `llmasos search`."
            ),
        ) from error
