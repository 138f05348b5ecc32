"""The HTTP transport of downloads from ordinary servers: package indexes and the Hugging Face hub."""

from __future__ import annotations

import logging
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmasos import __version__
from llmasos.errors import Unavailable
from llmasos.i18n import t
from llmasos.library.sources.download import TransferError
from llmasos.settings import get_settings

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

_CONNECT_TIMEOUT = 20.0


@dataclass
class HttpResponse:
    """A response of httpx as the download loop sees it."""

    status: int
    headers: Mapping[str, str]
    _response: httpx.Response

    def chunks(self) -> Iterator[bytes]:
        import httpx

        try:
            yield from self._response.iter_bytes()  # as they arrive: gathered ones are lost when the connection breaks
        except (httpx.TransportError, httpx.StreamError) as error:
            raise TransferError(describe(error)) from error


class HttpTransport:
    """GET over httpx, following redirects; credentials are not carried to another host."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._open: set[httpx.Response] = set()

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[HttpResponse]:
        import httpx

        try:
            with self._client.stream("GET", url, headers=dict(headers)) as response:
                self._open.add(response)
                try:
                    yield HttpResponse(response.status_code, response.headers, response)
                finally:
                    self._open.discard(response)
        except httpx.TooManyRedirects as error:
            raise Unavailable(t("{url}: {error}", url=url, error=describe(error))) from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise Unavailable(
                t("{url} is not an address that can be fetched: {error}", url=url, error=error)
            ) from error
        except httpx.TransportError as error:
            raise TransferError(describe(error)) from error
        except RuntimeError as error:  # httpx: "the client has been closed", by close() from another thread
            if self._client.is_closed:
                raise TransferError(str(error)) from error
            raise

    def close(self) -> None:
        for response in list(self._open):
            stream = response.extensions.get("network_stream")
            connection = stream.get_extra_info("socket") if stream is not None else None
            if connection is not None:
                with suppress(OSError):  # closing alone would leave a thread that waits for bytes asleep
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
        self._client.close()


def open_client(
    *,
    headers: Mapping[str, str] | None = None,
    auth: httpx.Auth | tuple[str, str] | None = None,
    verify: ssl.SSLContext | bool | None = None,
    proxy: str | None = None,
) -> httpx.Client:
    """An httpx client with our timeouts. Proxies come from ``proxy`` or the environment, certificates from
    ``verify`` or the environment (``SSL_CERT_FILE``, ``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE``)."""
    import httpx

    settings = get_settings()
    if proxy is not None and "://" not in proxy:
        proxy = f"http://{proxy}"  # as pip reads it
    timeout = httpx.Timeout(settings.download_timeout, connect=min(_CONNECT_TIMEOUT, settings.download_timeout))
    return httpx.Client(
        headers={"User-Agent": f"llmasos/{__version__}", **(headers or {})},
        auth=auth,
        verify=tls_context() if verify is None else verify,
        proxy=proxy,
        timeout=timeout,
        follow_redirects=True,
    )


def tls_context(certificates: str | None = None, client_certificate: str | None = None) -> ssl.SSLContext:
    """The certificates to trust: the given file or folder, else that of the environment, else httpx's own.

    Raises:
        Unavailable: the file is not there or holds no certificates.
    """
    import httpx

    path = certificates or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    try:
        if path is None:
            context = httpx.create_ssl_context()
        elif os.path.isdir(path):  # noqa: PTH112 - a string from a configuration, perhaps empty
            context = ssl.create_default_context(capath=path)
        else:
            context = ssl.create_default_context(cafile=path)
        if client_certificate:
            context.load_cert_chain(client_certificate)
    except OSError as error:  # ssl.SSLError is one
        raise Unavailable(
            t("the certificates in {path} cannot be used: {error}", path=client_certificate or path, error=error),
            hint=t(
                "Check the options cert and client-cert of pip, and the variables SSL_CERT_FILE and REQUESTS_CA_BUNDLE."
            ),
        ) from error
    return context


def describe(error: Exception) -> str:
    """The reason of a network error in one line; some have no text of their own."""
    return str(error) or type(error).__name__
