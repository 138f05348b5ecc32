"""One repository of an OCI registry over HTTP.

The oras library finds the credentials that docker keeps, signs in (basic and token authentication) and forms
addresses; requests are sent here, because oras tries a refused request five times over two minutes, reads whole blobs
into memory and writes manifests anew, which changes their digest.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from llmasos import __version__
from llmasos.errors import IntegrityError, LLMasOSError, NotFound, Unauthorised, Unavailable
from llmasos.i18n import t
from llmasos.library.sources.download import RETRIED_STATUSES, TransferError, pause_seconds
from llmasos.library.sources.oci_credentials import docker_configuration, stored_credentials
from llmasos.library.sources.transport import describe
from llmasos.settings import get_settings

logger = logging.getLogger(__name__)

_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?")
_CONNECT_TIMEOUT = 20.0
_PIECE = 1 << 20

Body = bytes | Callable[[], Any] | None  # a callable gives a fresh stream for every attempt


def is_plain(host: str) -> bool:
    """Whether a registry is reached over plain HTTP: loopback, and what ``insecure_registries`` names."""
    return _LOOPBACK.fullmatch(host) is not None or host in get_settings().insecure_registries


class RegistryClient:
    """Requests to one repository. Safe for several threads.

    Args:
        host: the registry, ``host[:port]``.
        repository: its repository; empty for requests to the registry itself.
        credentials: name and password, instead of those that are kept.
    """

    def __init__(self, host: str, repository: str = "", *, credentials: tuple[str, str] | None = None) -> None:
        import requests

        self.host = host
        self.repository = repository
        self.scheme = "http" if is_plain(host) else "https"
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"llmasos/{__version__}"
        if _LOOPBACK.fullmatch(host):
            self._session.trust_env = False  # a proxy cannot reach our own loopback
        self._credentials = credentials
        self._authorization: str | None = None
        self._lock = threading.Lock()

    @property
    def base(self) -> str:
        """The address of the registry's API."""
        return f"{self.scheme}://{self.host}/v2/"

    def url(self, *parts: str) -> str:
        """An address below the repository."""
        return self.base + "/".join((self.repository, *parts)).lstrip("/")

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        stream: bool = False,
    ) -> Any:
        """Send a request, sign in when the registry asks for it, and return the ``requests.Response``.

        Raises:
            TransferError: nobody answered or the connection broke.
            Unauthorised: the registry does not accept us.
            Unavailable: the address cannot be used at all.
        """
        response = self._send(method, url, headers, body, stream)
        if response.status_code == 401:
            used = response.request.headers.get("Authorization")
            response.close()
            self._sign_in(response, used)
            response = self._send(method, url, headers, body, stream)
        if response.status_code in (401, 403):
            response.close()
            raise self._refused(response)
        return response

    def read(self, response: Any, limit: int) -> bytes:
        """The whole body of a streamed response, if it is not larger than ``limit`` bytes.

        Raises:
            IntegrityError: it is larger.
            Unavailable: the connection broke.
        """
        import urllib3

        try:
            data: bytes = response.raw.read(limit + 1, decode_content=True)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable(t("{host}: {error}", host=self.host, error=describe(error))) from error
        finally:
            response.close()
        if len(data) > limit:
            raise IntegrityError(
                t("{host} sent more than {limit} bytes for a small document", host=self.host, limit=limit)
            )
        return data

    def close(self) -> None:
        """Close idle connections."""
        self._session.close()

    def _send(self, method: str, url: str, headers: Mapping[str, str] | None, body: Body, stream: bool) -> Any:
        import requests

        settings = get_settings()
        sent = dict(headers or {})
        # Redirects to a store of blobs elsewhere must not carry our credentials; requests drops them there.
        if self._authorization is not None and url.startswith(self.base):
            sent["Authorization"] = self._authorization
        try:
            return self._session.request(
                method,
                url,
                headers=sent,
                data=body() if callable(body) else body,
                stream=stream,
                timeout=(min(_CONNECT_TIMEOUT, settings.download_timeout), settings.download_timeout),
            )
        except (requests.exceptions.SSLError, requests.exceptions.InvalidURL) as error:
            raise Unavailable(
                t("{host}: {error}", host=self.host, error=describe(error)),
                hint=t("A registry without TLS must be named in the setting insecure_registries."),
            ) from error
        except requests.exceptions.RequestException as error:
            raise TransferError(t("{host}: {error}", host=self.host, error=describe(error))) from error

    def _sign_in(self, challenged: Any, used: str | None) -> None:
        """Answer a 401: basic authentication, or a token for what was asked for."""
        import oras.auth
        import oras.container
        import requests

        with self._lock:
            if self._authorization is not None and self._authorization != used:
                return  # another thread has signed in meanwhile
            challenge = challenged.headers.get("Www-Authenticate", "")
            kind = "basic" if challenge.lower().startswith("basic") else "token"
            backend = oras.auth.get_auth_backend(kind, requests.Session(), insecure=self.scheme == "http")
            known = self._find_credentials(backend, oras.container.Container(f"{self.host}/{self.repository or 'any'}"))
            if kind == "basic":
                if not known:
                    raise self._refused(challenged)
                self._authorization = backend.get_auth_header()["Authorization"]
                return
            try:
                headers, changed = backend.authenticate_request(challenged, {}, refresh=True)
            except requests.exceptions.RequestException as error:
                raise TransferError(t("{host}: {error}", host=self.host, error=describe(error))) from error
            if not changed:
                raise self._refused(challenged)
            self._authorization = headers["Authorization"]

    def _find_credentials(self, backend: Any, container: Any) -> bool:
        found = self._credentials or stored_credentials(self.host)
        if found is not None:
            backend.set_basic_auth(*found)
            return True
        path = docker_configuration()
        if path is not None:
            backend.load_configs(container, configs=[str(path)])
        return bool(getattr(backend, "_basic_auth", None))

    def _refused(self, response: Any) -> Unauthorised:
        return Unauthorised(
            t(
                "{host} answered {status} for {repository}: {reason}",
                host=self.host,
                status=response.status_code,
                repository=self.repository or "/",
                reason=error_message(response),
            ),
            hint=t(
                "Sign in with `llmasos login {host}`; the account must have the right for this repository.",
                host=self.host,
            ),
        )

    def failure(self, response: Any, what: str) -> LLMasOSError:
        """The error for an answer that is none of those expected."""
        status = response.status_code
        reason = error_message(response)
        if status == 404:
            return NotFound(
                t("{host} does not have {what}", host=self.host, what=what),
                hint=t("Check the name and the tag; `llmasos search` lists what configured registries have."),
            )
        return Unavailable(
            t("{host} answered {status} for {what}: {reason}", host=self.host, status=status, what=what, reason=reason)
        )

    def location(self, response: Any) -> str:
        """Where an upload continues; registries answer with a path or a whole address."""
        target = response.headers.get("Location")
        if not target:
            raise Unavailable(t("{host} did not say where to upload to", host=self.host))
        return urljoin(str(response.url), str(target))


def patiently(send: Callable[[], Any], *, attempts: int | None = None) -> Any:
    """Send a small request, again (``attempts`` times, else as the settings say) while nobody answers or the registry
    is overloaded.

    Raises:
        Unavailable: nobody answered to the last attempt.
    """
    limit = get_settings().download_retries if attempts is None else attempts
    failures = 0
    while True:
        try:
            response = send()
            if response.status_code not in RETRIED_STATUSES or failures >= limit:
                return response
            reason: object = response.status_code
        except TransferError as error:
            if failures >= limit:
                raise Unavailable(
                    t("the registry cannot be reached: {error}", error=error),
                    hint=t(
                        "Check the address and the network. A registry without TLS must be named in the setting "
                        "insecure_registries."
                    ),
                ) from error
            reason = error
        failures += 1
        logger.info("attempt %d failed: %s", failures, reason)
        time.sleep(pause_seconds(failures))


def error_message(response: Any) -> str:
    """What a registry says of an error, in its own words, else the HTTP reason."""
    with suppress(ValueError, AttributeError, TypeError, RuntimeError):
        errors = response.json().get("errors", [])
        texts = [str(error.get("message") or error.get("code")) for error in errors]
        if texts:
            return "; ".join(texts)
    return str(response.reason or response.status_code)


@dataclass
class _StreamedBlob:
    status: int
    headers: Mapping[str, str]
    response: Any

    def chunks(self) -> Iterator[bytes]:
        import urllib3

        try:
            # As they arrive: what is gathered to larger pieces is lost when the connection breaks.
            while piece := self.response.raw.read1(_PIECE):
                yield piece
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise TransferError(describe(error)) from error


class RegistryTransport:
    """Blobs of a registry for the download loop."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client
        self._open: set[Any] = set()

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[_StreamedBlob]:
        response = self._client.request("GET", url, headers=headers, stream=True)
        self._open.add(response)
        try:
            yield _StreamedBlob(response.status_code, response.headers, response)
        finally:
            self._open.discard(response)
            response.close()

    def close(self) -> None:
        for response in list(self._open):
            with suppress(OSError, AttributeError, ValueError, RuntimeError):
                response.raw.shutdown()  # wakes a thread that waits for bytes
        self._client.close()
