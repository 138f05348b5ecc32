"""The routes of Anthropic's API, and what their bodies hold."""

from __future__ import annotations

from fastapi import APIRouter

from llmasos.server.anthropic import fields, messages
from llmasos.server.web.body import Fields

ROUTERS: tuple[APIRouter, ...] = (messages.router,)
BODIES: dict[str, type[Fields]] = {
    "/v1/messages": fields.MessagesRequest,
    "/v1/messages/count_tokens": fields.CountRequest,
    "tools": fields.CustomTool,
    "tool_choice": fields.ToolChoice,
    "thinking": fields.Thinking,
    "output_config": fields.OutputConfig,
}
