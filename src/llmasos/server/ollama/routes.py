"""All routes of Ollama's API, each behind the scope that it needs."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import Depends, FastAPI, Request

from llmasos.errors import Forbidden
from llmasos.i18n import t
from llmasos.server.ollama import chat, create, embed, generate, manage, models, transfers, uploads
from llmasos.server.ollama.fields import ChatMessage
from llmasos.server.ollama.options import OptionFields
from llmasos.server.ollama.work import Workshop
from llmasos.server.web.body import Fields
from llmasos.server.web.gate import requires

BODIES: Mapping[str, type[Fields]] = {
    "POST /api/chat": chat.ChatRequest,
    "POST /api/generate": generate.GenerateRequest,
    "options": OptionFields,
    "messages": ChatMessage,
    "POST /api/embed": embed.EmbedRequest,
    "POST /api/embeddings": embed.EmbeddingsRequest,
    "POST /api/show": models.ShowRequest,
    "POST /api/pull": transfers.PullRequest,
    "POST /api/push": transfers.PushRequest,
    "POST /api/create": create.CreateRequest,
    "POST /api/copy": manage.CopyRequest,
    "DELETE /api/delete": manage.DeleteRequest,
}
"""What each route takes, and the objects inside; the documentation is made from it."""


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
