"""Errors as each API writes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from llmasos.errors import ContextLengthExceeded, LLMasOSError, TooManyRequests
from llmasos.i18n import t

ErrorBody = Callable[[LLMasOSError, int, str], dict[str, Any]]
"""From an error, the status and the request's id to the body of the answer."""

_TOO_LONG = "This model's maximum context length is exceeded"
"""LiteLLM and others look for these very words, in whatever language the rest is."""
_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
}
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def message_of(error: LLMasOSError) -> str:
    """Message and hint in one text."""
    return f"{error.message}. {error.hint}" if error.hint else error.message


def openai_body(error: LLMasOSError, status: int, request_id: str) -> dict[str, Any]:
    """OpenAI's form."""
    kind = _OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    message = message_of(error)
    if isinstance(error, ContextLengthExceeded):
        message = f"{_TOO_LONG}: {message}"
    return {
        "error": {
            "message": message,
            "type": kind,
            "param": getattr(error, "param", None),
            "code": error.code,
        }
    }


def anthropic_body(error: LLMasOSError, status: int, request_id: str) -> dict[str, Any]:
    """Anthropic's form."""
    kind = _ANTHROPIC_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    message = message_of(error)
    if isinstance(error, ContextLengthExceeded):  # there is no code; clients look for these words
        message = f"prompt is too long: {message}"
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}


def ollama_body(error: LLMasOSError, status: int, request_id: str) -> dict[str, Any]:
    """Ollama's form."""
    return {"error": message_of(error)}


def body_of(path: str, headers: Mapping[str, str]) -> ErrorBody:
    """The form of the API that a path belongs to; what two share goes by the header of Anthropic's clients."""
    if path.startswith("/v1/messages") or (path.startswith("/v1/models") and "anthropic-version" in headers):
        return anthropic_body
    if path.startswith("/api/"):
        return ollama_body
    return openai_body


class HttpError(LLMasOSError):
    """A fault of the protocol itself: no such path, a method that is not allowed."""

    code = "http_error"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def error_response(request: Request, error: LLMasOSError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer to a request that failed."""
    status = getattr(error, "status", error.http_status)
    body = body_of(request.url.path, request.headers)(error, status, request.scope.get("llmasos.request_id", ""))
    extra = dict(headers or {})
    if isinstance(error, TooManyRequests):
        extra["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    if status == 401:
        extra["www-authenticate"] = "Bearer"
    return JSONResponse(body, status, extra)


def not_found(path: str) -> HttpError:
    """There is nothing at this path."""
    return HttpError(404, t("there is no {path} here; see /docs", path=path))


def method_not_allowed(method: str, path: str) -> HttpError:
    """The path is there, for other methods."""
    return HttpError(405, t("{path} does not take {method}", path=path, method=method))
