"""POST /api/copy and DELETE /api/delete"""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field

from llmasos.errors import InUse
from llmasos.i18n import t
from llmasos.server.ollama.fields import NamedModel
from llmasos.server.serving.service import ModelService
from llmasos.server.web.body import Fields
from llmasos.server.web.context import RequestContext
from llmasos.server.web.documentation import documented

router = APIRouter(tags=["Ollama"])


class CopyRequest(Fields):
    """A model and its further name."""

    source: str = Field(min_length=1)
    destination: str = Field(min_length=1)


class DeleteRequest(NamedModel):
    """Which model."""


@router.post("/api/copy", **documented(CopyRequest, "Done."))
async def copy(context: RequestContext) -> Response:
    """Give a model a further name; nothing is copied."""
    received = await context.body(CopyRequest)
    fields = received.fields
    await asyncio.to_thread(context.service.library.tag, fields.source, fields.destination)
    context.service.names.forget()
    return Response(headers=received.headers)


@router.delete("/api/delete", **documented(DeleteRequest, "Done."))
async def delete(context: RequestContext) -> Response:
    """Remove a name, and the model with it if it has no other."""
    received = await context.body(DeleteRequest)
    name, service = received.fields.target, context.service
    context.note(model=name)
    await _let_go(service, name)
    await asyncio.to_thread(service.library.remove, name)
    service.names.forget()
    return Response(headers=received.headers)


async def _let_go(service: ModelService, name: str) -> None:
    """Unload a model that is about to go.

    Raises:
        NotFound: the library has no such model.
        InUse: it is being used, or the server was told to serve it.
    """
    library = service.library
    digest = await asyncio.to_thread(library.digest_of, name)
    row = next(iter(library.catalogue.rows(digest=digest)))
    if len(row.names) > 1 and name != digest:
        return
    loaded = next((item for item in service.loaded() if item.key == digest), None)
    if loaded is None:
        return
    if loaded.pinned:
        raise InUse(
            t("{name} is one of the models that this server was started to serve", name=name),
            hint=t("Start the server without it first."),
        )
    if loaded.users:
        raise InUse(t("{name} is answering requests", name=name), hint=t("Try again when they are finished."))
    await service.unload(name)
