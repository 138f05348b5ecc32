"""Resumable downloads.

Bytes go to ``<target>.partial`` with what is needed to continue in ``<target>.partial.json``; a killed download
continues with ``Range``/``If-Range`` and the file appears under its own name only when it is whole, has its digest
and is on the disk. How bytes are asked for is the transport's business, so package indexes, the Hugging Face hub and
OCI registries with their different ways of signing in all share this one loop.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Protocol

from llmasos import progress
from llmasos.errors import IntegrityError, NotFound, Unauthorised, Unavailable
from llmasos.i18n import t
from llmasos.library.disk import full_disk_as_error, require_space, sync_file
from llmasos.settings import get_settings

logger = logging.getLogger(__name__)

CHUNK = 1 << 20
LONGEST_PAUSE = 30.0
RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


class TransferError(Exception):
    """The connection failed in a way that another attempt may repair, ``retry_after`` seconds later at the earliest."""

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


def pause_seconds(failures: int) -> float:
    """How long to wait after the given number of failures: doubled each time, spread so that clients do not agree."""
    return min(LONGEST_PAUSE, 0.25 * 2.0**failures) * random.uniform(0.75, 1.25)  # noqa: S311 - not for secrets


class Response(Protocol):
    """An answer whose body has not been read yet."""

    status: int
    headers: Mapping[str, str]  # case-insensitive

    def chunks(self) -> Iterator[bytes]:
        """The body in pieces; raises :class:`TransferError` when the connection breaks."""
        ...


class Transport(Protocol):
    """Opens GET requests; raises :class:`TransferError` when nobody answers."""

    def get(self, url: str, headers: Mapping[str, str]) -> AbstractContextManager[Response]:
        """Send the request and read the head of the answer."""
        ...

    def close(self) -> None:
        """Close all connections, also those that another thread is reading from."""
        ...


@dataclass(frozen=True)
class Checksum:
    """What the bytes must hash to: ``sha256``, or ``git-sha1`` (the SHA-1 of a git blob, as the hub gives for text)."""

    algorithm: str
    value: str

    def hasher(self, size: int | None) -> hashlib._Hash:
        if self.algorithm == "sha256":
            return hashlib.sha256()
        digest = hashlib.sha1(usedforsecurity=False)
        digest.update(f"blob {size}\0".encode())
        return digest


@dataclass(frozen=True)
class Download:
    """One file to fetch. ``size`` in bytes and ``checksum`` are checked when they are known."""

    url: str
    target: Path
    size: int | None = None
    checksum: Checksum | None = None

    @property
    def partial(self) -> Path:
        return self.target.with_name(self.target.name + ".partial")

    @property
    def state(self) -> Path:
        return self.target.with_name(self.target.name + ".partial.json")

    def complete(self) -> bool:
        """Whether the whole file is there; files get this name only after their checks."""
        return self.target.is_file() and (self.size is None or self.target.stat().st_size == self.size)

    def remaining(self) -> int:
        """Bytes still to come, 0 when the size is unknown."""
        if self.size is None or self.complete():
            return 0
        return max(0, self.size - (self.partial.stat().st_size if self.partial.is_file() else 0))


def fetch(
    downloads: Sequence[Download],
    transport: Transport,
    *,
    label: str,
    parallel: int | None = None,
    extra_space: int = 0,
) -> None:
    """Download all files, several at a time, as one task of the progress stream.

    ``extra_space`` is the number of bytes that later steps need beside the downloads.

    Raises:
        OutOfDisk: checked before the first byte, and again when the disk fills up on the way.
        Unavailable: the attempts of ``settings.download_retries`` were used up.
        IntegrityError: the bytes are not those promised.
        Unauthorised, NotFound: what the server answered.
    """
    missing = [item for item in downloads if not item.complete()]
    for folder in {item.target.parent for item in downloads}:
        folder.mkdir(parents=True, exist_ok=True)
    if downloads:
        needed = sum(item.remaining() for item in missing) + extra_space
        require_space(downloads[0].target.parent, needed, reserve=get_settings().disk_reserve)
    if not missing:
        return
    known = all(item.size is not None for item in downloads)
    total = float(sum(item.size or 0 for item in downloads)) if known else None
    stop = threading.Event()
    with progress.current().task(label, total=total, unit="B") as task:
        done = sum(item.target.stat().st_size for item in downloads if item.complete())
        counter = _Counter(done, task.update)
        workers = max(1, min(parallel or get_settings().parallel_downloads, len(missing)))
        with ThreadPoolExecutor(workers, thread_name_prefix="download") as pool:
            futures = [
                pool.submit(copy_context().run, _Fetcher(item, transport, counter.add, stop).run) for item in missing
            ]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:  # after a failure or the user's interrupt, do not wait for a server that says nothing
                if not all(future.done() and future.exception() is None for future in futures):
                    stop.set()
                    transport.close()
                    for future in futures:
                        future.cancel()
        failures = [error for future in futures if not future.cancelled() and (error := future.exception())]
        for failure in sorted(failures, key=lambda error: isinstance(error, _StoppedError)):
            raise failure


class _StoppedError(Exception):
    """Another file of the same set has failed."""


class _Counter:
    def __init__(self, start: float, report: Callable[[float], None]) -> None:
        self._total = start
        self._report = report
        self._lock = threading.Lock()

    def add(self, amount: int) -> None:
        with self._lock:
            self._total += amount
            total = self._total
        self._report(total)


class _Fetcher:
    """Fetches one file, through as many attempts as it takes and is allowed."""

    def __init__(
        self, item: Download, transport: Transport, report: Callable[[int], None], stop: threading.Event
    ) -> None:
        self.item = item
        self.transport = transport
        self.report = report
        self.stop = stop
        self.received = 0  # bytes that are in the partial file
        self.counted = 0  # bytes of this file that the progress has been told of
        self.resumed = False  # whether bytes of an earlier process are part of the file
        self.hasher = item.checksum.hasher(item.size) if item.checksum else None

    def run(self) -> None:
        self._adopt_partial()
        failures = 0
        while True:
            before = self.received
            try:
                with full_disk_as_error(self.item.target.parent, (self.item.size or before) - before):
                    self._attempt()
                    if self._finish():
                        return
            except TransferError as error:
                failures = 1 if self.received > before else failures + 1
                if failures > get_settings().download_retries:
                    raise Unavailable(
                        t("{url}: {error}, after {count} attempts", url=self.item.url, error=error, count=failures),
                        hint=t("Check the network and run the same command again; it continues where it stopped."),
                    ) from error
                self._pause(failures, error)

    def _pause(self, failures: int, error: TransferError) -> None:
        seconds = pause_seconds(failures)
        if error.retry_after is not None:
            seconds = max(seconds, min(error.retry_after, 10 * LONGEST_PAUSE))
        logger.info("%s: %s; next attempt in %.1f s", self.item.url, error, seconds)
        if self.stop.wait(seconds):
            raise _StoppedError

    def _adopt_partial(self) -> None:
        """Continue what an earlier process left, if it belongs to the same bytes."""
        partial = self.item.partial
        if not partial.is_file():
            return
        state = self._read_state()
        same = (
            state.get("url") == self.item.url
            if self.item.checksum is None
            else state.get("checksum") == self.item.checksum.value
        )
        if not same or (self.item.size is not None and partial.stat().st_size > self.item.size):
            self._discard()
            return
        if self.hasher is not None:
            with partial.open("rb") as file:
                while block := file.read(CHUNK):
                    self.hasher.update(block)
        self.received = partial.stat().st_size
        self.resumed = self.received > 0
        self._count()

    def _attempt(self) -> None:
        headers = {"Accept-Encoding": "identity"}
        validator = self._read_state().get("validator")
        if self.received and (self.item.checksum or validator):
            if self.received == self.item.size:
                return
            headers["Range"] = f"bytes={self.received}-"
            if (
                self.item.checksum is None and validator
            ):  # else the checksum decides, and mirrors with other ETags will do
                headers["If-Range"] = validator
        elif self.received:
            self._discard()  # nothing would tell whether the rest belongs to these bytes
        with self.transport.get(self.item.url, headers) as response:
            self._check_status(response)
            if response.status == 200 and self.received:
                self._discard()
            expected = self._expected(response)
            self._write_state(response)
            with self.item.partial.open("ab") as file:
                for chunk in response.chunks():
                    if self.stop.is_set():
                        raise _StoppedError
                    if self.item.size is not None and self.received + len(chunk) > self.item.size:
                        raise self._integrity(
                            t("the server sent more than the {size} bytes it announced", size=self.item.size)
                        )
                    file.write(chunk)
                    if self.hasher is not None:
                        self.hasher.update(chunk)
                    self.received += len(chunk)
                    self._count()
            if expected is not None and self.received != expected:
                raise TransferError(
                    t(
                        "the connection was closed after {received} of {expected} bytes",
                        received=self.received,
                        expected=expected,
                    )
                )

    def _expected(self, response: Response) -> int | None:
        """The size of the whole file according to this response; also checks what a 206 continues."""
        length = response.headers.get("content-length")
        if response.headers.get("content-encoding", "identity") != "identity":
            return self.item.size
        if response.status == 206:
            match response.headers.get("content-range", "").removeprefix("bytes ").replace("/", "-").split("-"):
                case [start, _, _] if start.strip() != str(self.received):
                    self._discard()
                    raise TransferError(t("the server continued at byte {start} instead", start=start))
                case [_, _, total] if total.strip().isdigit():
                    return int(total)
        return int(length) + self.received if length and length.isdigit() else self.item.size

    def _check_status(self, response: Response) -> None:
        status = response.status
        if status in (200, 206):
            return
        if status == 416:
            self._discard()
            raise TransferError(t("the server refused to continue"))
        url = self.item.url
        if status in (401, 403):
            raise Unauthorised(
                t("{url}: the server answered {status}", url=url, status=status),
                hint=t("Sign in with `llmasos login`, or check the credentials of your mirror."),
            )
        if status in (404, 410):
            raise NotFound(t("{url}: the server answered {status}", url=url, status=status))
        if status in RETRIED_STATUSES:
            wanted = _retry_after(response.headers.get("retry-after"))
            raise TransferError(t("the server answered {status}", status=status), retry_after=wanted)
        raise Unavailable(t("{url}: the server answered {status}", url=url, status=status))

    def _finish(self) -> bool:
        """Check and publish the file; ``False`` when a poisoned partial file was thrown away and all starts again."""
        item = self.item
        problem = None
        if item.size is not None and self.received != item.size:
            problem = t("{received} bytes received, {size} expected", received=self.received, size=item.size)
        elif self.hasher is not None and item.checksum is not None and self.hasher.hexdigest() != item.checksum.value:
            problem = t(
                "{algorithm} is {actual}, expected {expected}",
                algorithm=item.checksum.algorithm,
                actual=self.hasher.hexdigest(),
                expected=item.checksum.value,
            )
        if problem is not None:
            resumed = self.resumed
            error = self._integrity(problem)
            self._discard()
            if not resumed:
                raise error
            logger.warning("%s: %s; the interrupted download was damaged, starting again", item.url, problem)
            return False
        sync_file(item.partial)
        item.partial.replace(item.target)
        item.state.unlink(missing_ok=True)
        return True

    def _integrity(self, problem: str) -> IntegrityError:
        return IntegrityError(
            t("{url}: {problem}", url=self.item.url, problem=problem),
            hint=t("The file changed at its source or was altered on the way; try again or use another mirror."),
        )

    def _discard(self) -> None:
        self.item.partial.unlink(missing_ok=True)
        self.item.state.unlink(missing_ok=True)
        self.received = 0
        self.resumed = False
        self.hasher = self.item.checksum.hasher(self.item.size) if self.item.checksum else None
        self._count()

    def _count(self) -> None:
        self.report(self.received - self.counted)
        self.counted = self.received

    def _read_state(self) -> dict[str, str]:
        try:
            state = json.loads(self.item.state.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return {str(key): str(value) for key, value in state.items()} if isinstance(state, dict) else {}

    def _write_state(self, response: Response) -> None:
        etag = response.headers.get("etag", "")
        # A weak ETag may not be used with If-Range (RFC 9110, 13.1.5); a date may.
        validator = etag if etag and not etag.startswith("W/") else response.headers.get("last-modified", "")
        state = {"url": self.item.url, "validator": validator}
        if self.item.checksum is not None:
            state["checksum"] = self.item.checksum.value
        temporary = self.item.state.with_name(self.item.state.name + ".new")
        temporary.write_text(json.dumps(state), encoding="utf-8")
        temporary.replace(self.item.state)


def _retry_after(value: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header: a number or a date."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
