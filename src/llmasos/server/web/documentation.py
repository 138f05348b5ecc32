"""The OpenAPI document: bodies are read by us, so their schemas are given by hand."""

from __future__ import annotations

from typing import Any

from llmasos.server.web.body import Fields

_ERRORS = {
    400: "A field is unknown, not supported or not allowed, or the prompt does not fit.",
    401: "A key is needed.",
    403: "The key does not allow this.",
    404: "There is no such model.",
    413: "The body is too large.",
    429: "The queue is full or a limit of the key is reached; Retry-After says when to try again.",
    503: "The server is shutting down, or another server cannot be reached.",
    504: "The request was not finished within its time.",
    507: "There is too little memory for the model.",
}


def documented(fields: type[Fields] | None, answer: str, *, required: bool = True) -> dict[str, Any]:
    """Arguments for a route's decorator.

    Args:
        fields: the body's; ``None`` for routes without one.
        answer: what comes back with status 200.
        required: whether the body may be left out.
    """
    extra: dict[str, Any] = {}
    if fields is not None:
        # The APIs use the same names for different things: openai.ChatMessage, ollama.ChatMessage.
        api = fields.__module__.split(".")[-2]
        schema = fields.model_json_schema(by_alias=True, ref_template=f"#/components/schemas/{api}.{{model}}")
        schema["$defs"] = {f"{api}.{name}": inner for name, inner in schema.get("$defs", {}).items()}
        extra["requestBody"] = {"required": required, "content": {"application/json": {"schema": schema}}}
    responses: dict[int | str, dict[str, Any]] = {200: {"description": answer}}
    responses |= {status: {"description": text} for status, text in _ERRORS.items()}
    return {"openapi_extra": extra, "responses": responses, "response_model": None}


def gather_schemas(document: dict[str, Any]) -> dict[str, Any]:
    """Move the definitions inside the schemas of bodies to where references look for them."""
    shared = document.setdefault("components", {}).setdefault("schemas", {})
    for operations in document.get("paths", {}).values():
        for operation in operations.values():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            for name, definition in content.get("schema", {}).pop("$defs", {}).items():
                assert shared.setdefault(name, definition) == definition, f"two definitions are named {name}"
    return document
