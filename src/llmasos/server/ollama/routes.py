"""All routes of Ollama's API, each behind the scope that it needs."""

from __future__ import annotations

from fastapi import Depends, FastAPI, Request

from llmasos.errors import Forbidden
from llmasos.i18n import t
from llmasos.server.ollama import chat, create, embed, generate, manage, models, transfers, uploads
from llmasos.server.ollama.work import Workshop
from llmasos.server.web.gate import requires


def include(application: FastAPI) -> None:
    """Add the routes to the application."""
    application.state.workshop = Workshop()
    application.include_router(models.door)
    for router in (chat.router, generate.router, embed.router, models.router):
        application.include_router(router, dependencies=[Depends(requires("inference"))])
    for router in (create.router, manage.router, transfers.router, uploads.router):
        application.include_router(router, dependencies=[Depends(requires("models")), Depends(_management)])


async def _management(request: Request) -> None:
    """Let requests pass that change the library, unless the server was told not to."""
    if not request.app.state.service.configuration.management:
        raise Forbidden(
            t("this server does not let requests change its models"),
            hint=t("Use `llmasos pull`, `rm` and `tag` on its machine, or start it with management: true."),
        )
