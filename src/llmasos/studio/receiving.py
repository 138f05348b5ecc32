"""Where browsers send files to: ``PUT /studio/uploads/{name}``, the bytes as they are.

Being below the Studio's root, it lies behind :class:`~llmasos.studio.guard.StudioGuard`: pages of other hosts are
refused. And a form of another page cannot send a PUT at all.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from llmasos.errors import LLMasOSError
from llmasos.i18n import speaking
from llmasos.library.store import Library
from llmasos.studio import preferences, uploads

PATH = "/uploads"
_CLIENT_GONE = 499


def router(library: Library) -> APIRouter:
    """The routes, below the Studio's root."""
    routes = APIRouter(include_in_schema=False)

    @routes.get(f"{PATH}/{{name:path}}")
    async def check(request: Request, name: str, size: int) -> Response:
        """Whether a file would be taken: a browser learns it before it sends what may be gigabytes."""
        with speaking(preferences.read(request).language):
            try:
                return JSONResponse({"name": uploads.check(library, name, size)})
            except LLMasOSError as error:
                return JSONResponse(_problem(error))

    @routes.put(f"{PATH}/{{name:path}}")
    async def receive(request: Request, name: str) -> Response:
        declared = request.headers.get("content-length", "")
        with speaking(preferences.read(request).language):
            try:
                path = await uploads.receive(
                    library, name, request.stream(), declared=int(declared) if declared.isdecimal() else 0
                )
            except ClientDisconnect:
                return Response(status_code=_CLIENT_GONE)
            except LLMasOSError as error:
                return JSONResponse(_problem(error), error.http_status)
        return JSONResponse({"name": path.name}, 201)

    return routes


def _problem(error: LLMasOSError) -> dict[str, str]:
    return {"error": error.message, "hint": error.hint or ""}
