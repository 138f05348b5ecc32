"""The routes of OpenAI's API, and what their bodies hold."""

from __future__ import annotations

from fastapi import APIRouter

from llmasos.server.openai import chat, completions, embeddings, models
from llmasos.server.openai.responses import routes as responses
from llmasos.server.web.body import Fields

ROUTERS: tuple[APIRouter, ...] = (
    chat.router, completions.router, embeddings.router, models.router, responses.router,
)  # fmt: skip
BODIES: dict[str, type[Fields]] = {
    "/v1/chat/completions": chat.ChatRequest,
    "/v1/completions": completions.CompletionRequest,
    "/v1/embeddings": embeddings.EmbeddingRequest,
    "/v1/classify": embeddings.ClassifyRequest,
    "/tokenize": models.TokenizeRequest,
    "/detokenize": models.DetokenizeRequest,
}
