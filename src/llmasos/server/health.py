"""GET /health, /ready and /metrics: what load balancers and Prometheus ask."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from llmasos import __version__
from llmasos.server.metrics import CONTENT_TYPE
from llmasos.server.serving.service import ModelService
from llmasos.server.web.gate import requires

router = APIRouter(tags=["Operation"])


@router.get("/health", response_model=None)
async def health() -> Response:
    """The process answers."""
    return JSONResponse({"status": "ok", "version": __version__})


@router.get("/ready", response_model=None, responses={503: {"description": "Loading, or shutting down."}})
async def ready(request: Request) -> Response:
    """The configured models are loaded, and the server is not shutting down."""
    service: ModelService = request.app.state.service
    models = [loaded.name for loaded in service.loaded()]
    if not service.ready:
        return JSONResponse({"status": "not ready", "models": models}, 503)
    return JSONResponse({"status": "ready", "models": models})


@router.get("/metrics", response_model=None, dependencies=[Depends(requires("metrics"))])
async def metrics(request: Request) -> Response:
    """Metrics for Prometheus."""
    service: ModelService = request.app.state.service
    return PlainTextResponse(service.metrics.text(), media_type=CONTENT_TYPE)
