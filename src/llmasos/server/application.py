"""The web application: routes of all APIs, errors in the form of each, what lies around every request."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from llmasos import __version__
from llmasos.errors import InvalidRequest, LLMasOSError
from llmasos.i18n import t
from llmasos.server import health
from llmasos.server.anthropic import routes as anthropic
from llmasos.server.keys import KeyStore
from llmasos.server.ollama import routes as ollama
from llmasos.server.openai import routes as openai
from llmasos.server.openai.responses.store import ResponseStore
from llmasos.server.serving.service import ModelService
from llmasos.server.web.access import AccessMiddleware, record_of
from llmasos.server.web.body import WARNING_HEADER
from llmasos.server.web.documentation import gather_schemas
from llmasos.server.web.errors import HttpError, error_response, method_not_allowed, not_found
from llmasos.server.web.gate import Gate, requires
from llmasos.server.web.streaming import ClientGone

logger = logging.getLogger(__name__)

CLIENT_CLOSED_REQUEST = 499  # nginx's code; nobody reads it but the log


def create_application(service: ModelService, *, owns_service: bool = True) -> FastAPI:
    """The application over ``service``.

    Args:
        owns_service: start and close it with the application; else whoever made it does that.
    """
    configuration = service.configuration

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if owns_service:
            await service.start()
        try:
            yield
        finally:
            await application.state.responses.close()
            if owns_service:
                await service.close()

    application = FastAPI(
        title="LLMasOS", version=__version__, lifespan=lifespan, redoc_url=None,
        description="One server for clients of OpenAI, Anthropic and Ollama.",
    )  # fmt: skip
    application.state.service = service
    application.state.responses = ResponseStore(configuration.responses_kept, configuration.responses_bytes)
    application.state.gate = Gate(configuration, KeyStore(service.library.catalogue.database))
    for router in (*openai.ROUTERS, *anthropic.ROUTERS):
        application.include_router(router, dependencies=[Depends(requires("inference"))])
    ollama.include(application)
    application.include_router(health.router)
    _handle_errors(application)
    application.openapi = lambda: _document(application)  # type: ignore[method-assign]
    if configuration.cors_origins:
        application.add_middleware(
            CORSMiddleware, allow_origins=configuration.cors_origins, allow_methods=["*"], allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after", WARNING_HEADER],
        )  # fmt: skip
    application.add_middleware(AccessMiddleware, metrics=service.metrics, log=configuration.access_log)
    return application


def _handle_errors(application: FastAPI) -> None:
    @application.exception_handler(LLMasOSError)
    async def ours(request: Request, error: LLMasOSError) -> Response:
        record_of(request.scope).error = error.message
        if getattr(error, "status", error.http_status) == 429:
            request.app.state.service.metrics.refused.labels(error.code).inc()
        return error_response(request, error)

    @application.exception_handler(ClientGone)
    async def gone(request: Request, error: ClientGone) -> Response:
        record_of(request.scope).error = "client gone"
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    @application.exception_handler(HTTPException)
    async def protocol(request: Request, error: HTTPException) -> Response:
        path = request.url.path
        if error.status_code == 404:
            return error_response(request, not_found(path))
        if error.status_code == 405:
            return error_response(request, method_not_allowed(request.method, path), error.headers)
        return error_response(request, HttpError(error.status_code, str(error.detail)), error.headers)

    @application.exception_handler(RequestValidationError)
    async def parameters(request: Request, error: RequestValidationError) -> Response:
        lines = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        return error_response(request, InvalidRequest("; ".join(lines)))

    @application.exception_handler(Exception)
    async def defect(request: Request, error: Exception) -> Response:
        logger.error("a request failed because of a defect", exc_info=error)
        record_of(request.scope).error = type(error).__name__
        return error_response(
            request,
            LLMasOSError(
                t("the server failed on this request; its log has the reason under {id}",
                  id=request.scope["llmasos.request_id"])
            ),
        )  # fmt: skip


def _document(application: FastAPI) -> dict[str, Any]:
    if application.openapi_schema is None:
        application.openapi_schema = gather_schemas(
            get_openapi(
                title=application.title, version=application.version, description=application.description,
                routes=application.routes,
            )
        )  # fmt: skip
    return application.openapi_schema
