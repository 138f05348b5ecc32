"""Sending one blob to an OCI registry: in chunks read from the disk, continuing after a broken connection."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal
from urllib.parse import urlencode, urljoin

from llmasos.errors import IntegrityError, Unavailable
from llmasos.i18n import t
from llmasos.library.manifest import Descriptor
from llmasos.library.sources.download import TransferError, pause_seconds
from llmasos.library.sources.oci_client import RegistryClient, error_message, patiently
from llmasos.settings import get_settings

logger = logging.getLogger(__name__)

CHUNK = 32 * 2**20
Outcome = Literal["uploaded", "present", "mounted"]


class StoppedError(Exception):
    """Another blob of the same push has failed."""


class Upload:
    """One blob on its way to a registry.

    Args:
        neighbour: another repository of the registry that may have the blob already.
        report: told of bytes sent; negative when some must be sent again.
        stop: set when another blob has failed.
    """

    def __init__(
        self,
        client: RegistryClient,
        blob: Descriptor,
        path: Path,
        neighbour: str | None,
        report: Callable[[int], None],
        stop: threading.Event,
    ) -> None:
        self._client = client
        self._blob = blob
        self._path = path
        self._neighbour = neighbour
        self._report = report
        self._stop = stop
        self._reported = 0

    def run(self) -> Outcome:
        """Send the blob unless the registry has it.

        Raises:
            IntegrityError: the registry says the bytes do not have their digest.
            Unauthorised, Unavailable: as they say.
        """
        if self._exists():
            self._progress(self._blob.size)
            return "present"
        failures = 0
        location: str | None = None
        sent = 0
        while True:
            before = sent
            try:
                if location is None:
                    sent, location = 0, self._start()
                    if location is None:
                        self._progress(self._blob.size)
                        return "mounted"
                while sent < self._blob.size:
                    if self._stop.is_set():
                        raise StoppedError
                    location, sent = self._send_chunk(location, sent)
                self._finish(location)
                return "uploaded"
            except TransferError as error:
                failures = 1 if sent > before else failures + 1
                if failures > get_settings().download_retries:
                    raise Unavailable(
                        t(
                            "{host}: {error}, after {count} attempts",
                            host=self._client.host,
                            error=error,
                            count=failures,
                        ),
                        hint=t("Run the same push again; blobs that have arrived are not sent twice."),
                    ) from error
                logger.info("%s: %s", self._blob.digest, error)
                if self._stop.wait(pause_seconds(failures)):
                    raise StoppedError from error
                location, sent = self._where(location)
                self._progress(sent)

    def _exists(self) -> bool:
        url = self._client.url("blobs", self._blob.digest)
        response = patiently(lambda: self._client.request("HEAD", url))
        return bool(response.status_code == 200)

    def _start(self) -> str | None:
        """Open an upload; ``None`` when the registry took the blob from the neighbour instead."""
        url = self._client.url("blobs", "uploads/")
        if self._neighbour is not None:
            url += "?" + urlencode({"mount": self._blob.digest, "from": self._neighbour})
        response = self._client.request("POST", url, headers={"Content-Length": "0"})
        if response.status_code == 201 and self._neighbour is not None:
            return None
        if response.status_code != 202:
            raise self._failure(response)
        return self._client.location(response)

    def _send_chunk(self, location: str, start: int) -> tuple[str, int]:
        length = min(CHUNK, self._blob.size - start)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(length),
            "Content-Range": f"{start}-{start + length - 1}",
        }
        with self._path.open("rb") as file:
            response = self._client.request(
                "PATCH",
                location,
                headers=headers,
                body=lambda: _Slice(file, start, length, lambda read: self._progress(start + read)),
            )
        if response.status_code == 416:
            raise TransferError(t("the registry is at another position"))
        if response.status_code != 202:
            raise self._failure(response)
        return self._client.location(response), start + length

    def _finish(self, location: str) -> None:
        separator = "&" if "?" in location else "?"
        url = location + separator + urlencode({"digest": self._blob.digest})
        response = self._client.request("PUT", url, headers={"Content-Length": "0"})
        if response.status_code in (200, 201, 204):
            return
        if response.status_code == 400 and "digest" in error_message(response).lower():
            raise IntegrityError(
                t(
                    "{host} received bytes that do not have the digest {digest}",
                    host=self._client.host,
                    digest=self._blob.digest,
                ),
                hint=t("Run `llmasos verify`: the blob may be damaged."),
            )
        raise self._failure(response)

    def _where(self, location: str | None) -> tuple[str | None, int]:
        """How much of a broken upload the registry has; ``None``: it has forgotten it, start again."""
        if location is None:
            return None, 0
        try:
            response = self._client.request("GET", location)
        except TransferError:
            return None, 0
        if response.status_code != 204:
            return None, 0
        _, dash, last = response.headers.get("Range", "").rpartition("-")
        received = int(last) + 1 if dash and last.isdigit() else 0
        if received > self._blob.size or (received == 1 and response.headers.get("Range") == "0-0"):
            return None, 0  # "0-0" means nothing to some registries and one byte to others
        following = response.headers.get("Location")
        return urljoin(response.url, following) if following else location, received

    def _failure(self, response: Any) -> Exception:
        if response.status_code in (404, 408, 429, 500, 502, 503, 504):
            return TransferError(
                t(
                    "{host} answered {status}: {reason}",
                    host=self._client.host,
                    status=response.status_code,
                    reason=error_message(response),
                )
            )
        return self._client.failure(response, t("an upload to {repository}", repository=self._client.repository))

    def _progress(self, position: int) -> None:
        self._report(position - self._reported)
        self._reported = position


class _Slice:
    """A part of a file as a body: requests asks it for its length and reads it piece by piece."""

    def __init__(self, file: BinaryIO, start: int, length: int, report: Callable[[int], None]) -> None:
        file.seek(start)
        self._file = file
        self._left = length
        self._length = length
        self._report = report

    def __len__(self) -> int:
        return self._length

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        self._report(self._length - self._left)
        return data
