"""GET /api/tags, /api/ps and /api/version, POST /api/show, and what clients knock at to see whether somebody is in."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import Field

from llmasos import __version__
from llmasos.library.safetensors_header import read_header
from llmasos.server.ollama.description import Description, describe, details_of
from llmasos.server.ollama.fields import NamedModel
from llmasos.server.serving.names import Listed
from llmasos.server.serving.service import Loaded
from llmasos.server.web.context import RequestContext
from llmasos.server.web.documentation import documented

door = APIRouter(tags=["Ollama"])
router = APIRouter(tags=["Ollama"])

API_LEVEL = "0.12.11"
"""The version of Ollama whose API this is; clients look at it to see what they may ask for."""
GREETING = 'LLMasOS is running. To clients that look for "Ollama is running": its API is here, at /api.\n'
NEVER = datetime(9999, 12, 31, tzinfo=UTC)


class ShowRequest(NamedModel):
    """Which model."""

    verbose: bool | None = Field(None, description="true: also the name, type and shape of every tensor.")


@door.get("/", response_model=None)
@door.head("/", response_model=None, include_in_schema=False)
async def greet() -> Response:
    """Say that the server runs."""
    return PlainTextResponse(GREETING)


@router.get("/api/version", **documented(None, "The version."))
@router.head("/api/version", response_model=None, include_in_schema=False)
async def version() -> Response:
    """The level of Ollama's API, and the version of this program."""
    return JSONResponse({"version": f"{API_LEVEL}+llmasos.{__version__}"})


@router.get("/api/tags", **documented(None, "All models that can be named."))
@router.head("/api/tags", response_model=None, include_in_schema=False)
async def tags(context: RequestContext) -> Response:
    """List the models."""
    items = await asyncio.to_thread(context.service.names.listing)
    return JSONResponse({"models": [_listed(item) for item in items]})


def _listed(item: Listed) -> dict[str, Any]:
    return {
        "name": item.name,
        "model": item.name,
        "modified_at": _time(datetime.fromtimestamp(item.created, UTC)),
        "size": item.size,
        "digest": _hexadecimal(item.digest),
        "details": details_of(item.row),
    }


@router.get("/api/ps", **documented(None, "The models in memory."))
async def ps(context: RequestContext) -> Response:
    """List the models in memory."""
    now = datetime.now(UTC)
    found = [_running(item, context, now) for item in context.service.loaded()]
    return JSONResponse({"models": found})


def _running(item: Loaded, context: RequestContext, now: datetime) -> dict[str, Any]:
    model = item.local.model
    row = next(iter(context.service.library.catalogue.rows(digest=item.key)), None)
    rest = item.expires_in
    return {
        "name": item.name,
        "model": item.name,
        "size": item.bytes,
        "digest": _hexadecimal(item.key if row is not None else None),
        "details": details_of(row),
        "expires_at": _time(NEVER if rest is None else now + timedelta(seconds=rest)),
        "size_vram": 0 if model.device == "cpu" else item.bytes,
        "context_length": model.context_length,
    }


@router.post("/api/show", **documented(ShowRequest, "Everything about a model."))
async def show(context: RequestContext) -> Response:
    """Show a model."""
    received = await context.body(ShowRequest)
    name = received.fields.target
    context.note(model=name)
    found = await describe(context.service, name)
    answer = await asyncio.to_thread(_shown, found, bool(received.fields.verbose))
    return JSONResponse(answer, headers=received.headers)


def _shown(found: Description, verbose: bool) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "modelfile": found.modelfile(),
        "parameters": "\n".join(f"{name:<30} {value}" for name, value in found.parameters()),
        "template": found.template,
        "details": details_of(found.row, found.folder),
        "model_info": found.facts(),
        "capabilities": found.capabilities(),
        "modified_at": _time(found.row.published if found.row is not None else datetime.now(UTC)),
    }
    if found.license:
        answer["license"] = found.license
    if found.presets is not None and found.presets.system is not None:
        answer["system"] = found.presets.system
    if found.presets is not None and found.presets.messages:
        answer["messages"] = found.presets.messages
    if verbose:
        files = found.folder.weight_files if found.folder is not None else ()
        answer["tensors"] = [
            {"name": name, "type": entry.dtype, "shape": list(entry.shape)}
            for file in files
            for name, entry in read_header(file)[0].items()
        ]
    return answer


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _hexadecimal(digest: str | None) -> str:
    return (digest or "").removeprefix("sha256:")
