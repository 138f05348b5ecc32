"""HEAD and POST /api/blobs/:digest: files that a client sends before it creates a model from them.

They wait in ``uploads/`` of the home folder, and go when a model was created from them, or after a day.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.requests import ClientDisconnect

from llmasos.errors import InvalidRequest, NotFound
from llmasos.i18n import t
from llmasos.library.digest import hex_of, is_digest
from llmasos.library.disk import full_disk_as_error, require_space, sync_file, sync_folder
from llmasos.server.web.context import RequestContext
from llmasos.server.web.documentation import documented
from llmasos.server.web.streaming import ClientGone

if TYPE_CHECKING:
    from llmasos.library.store import Library

router = APIRouter(tags=["Ollama"])

_KEPT_SECONDS = 24 * 3600.0
_BUFFER = 4 * 2**20


class Uploads:
    """Files that were sent and wait to be used."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._folder = library.home / "uploads"

    def find(self, digest: str) -> Path | None:
        """Where the bytes lie, among what was sent or in the library."""
        path = self._folder / hex_of(digest)
        if path.is_file():
            return path
        return self._library.blobs.path(digest) if self._library.blobs.has(digest) else None

    async def receive(self, digest: str, request: Request) -> None:
        """Take the body of a request as the file of this digest.

        Raises:
            InvalidRequest: its bytes have another digest.
            OutOfDisk: it does not fit.
        """
        declared = request.headers.get("content-length", "")
        await asyncio.to_thread(self._prepare, int(declared) if declared.isdigit() else 0)
        part = self._folder / f".{hex_of(digest)}.{secrets.token_hex(4)}"
        hasher = hashlib.sha256()
        try:
            with full_disk_as_error(self._library.home):
                with part.open("wb") as file:
                    buffer = bytearray()

                    def flush() -> None:
                        hasher.update(buffer)
                        file.write(buffer)
                        buffer.clear()

                    async for chunk in request.stream():
                        buffer += chunk
                        if len(buffer) >= _BUFFER:
                            await asyncio.to_thread(flush)
                    await asyncio.to_thread(flush)
                await asyncio.to_thread(sync_file, part)
            actual = f"sha256:{hasher.hexdigest()}"
            if actual != digest:
                raise InvalidRequest(
                    t("the bytes have the digest {actual} instead of {digest}", actual=actual, digest=digest),
                    hint=t("Send the file again."),
                )
            part.replace(self._folder / hex_of(digest))
            await asyncio.to_thread(sync_folder, self._folder)
        finally:
            part.unlink(missing_ok=True)

    def _prepare(self, size: int) -> None:
        """Make the folder, check the space, and remove what nobody used."""
        self._folder.mkdir(parents=True, exist_ok=True)
        require_space(self._library.home, size, reserve=self._library.disk_reserve)
        oldest = time.time() - _KEPT_SECONDS
        for path in self._folder.iterdir():
            if path.is_file() and path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)

    def forget(self, digests: list[str]) -> None:
        """Remove files that a model was made from: its blobs have them."""
        for digest in digests:
            (self._folder / hex_of(digest)).unlink(missing_ok=True)


def _checked(digest: str) -> str:
    """``sha256:`` or ``sha256-`` and 64 hexadecimal digits.

    Raises:
        InvalidRequest: it is something else.
    """
    text = digest.replace("sha256-", "sha256:", 1)
    if not is_digest(text):
        raise InvalidRequest(
            t("{digest!r} is no digest", digest=digest), hint=t("Write sha256: and 64 hexadecimal digits.")
        )
    return text


@router.head("/api/blobs/{digest}", **documented(None, "The file is here."))
async def has_blob(digest: str, context: RequestContext) -> Response:
    """Ask whether a file is here."""
    if Uploads(context.service.library).find(_checked(digest)) is None:
        raise NotFound(t("there is no file {digest} here", digest=digest))
    return Response()


@router.post("/api/blobs/{digest}", status_code=201, **documented(None, "The file was here already."))
async def send_blob(digest: str, context: RequestContext) -> Response:
    """Send a file that a model will be created from."""
    wanted = _checked(digest)
    uploads = Uploads(context.service.library)
    if uploads.find(wanted) is not None:
        return Response()
    try:
        await uploads.receive(wanted, context.request)
    except ClientDisconnect as error:
        raise ClientGone from error
    return Response(status_code=201)
