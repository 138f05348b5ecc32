"""GET /v1/models as Anthropic's clients read it: they say who they are by the header anthropic-version."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from llmasos.i18n import t
from llmasos.server.serving.names import Listed
from llmasos.server.web.body import InvalidField

VERSION_HEADER = "anthropic-version"
_DEFAULT_LIMIT, _LARGEST_LIMIT = 20, 1000


def is_anthropic(request: Request) -> bool:
    """Whether a client of Anthropic asks."""
    return VERSION_HEADER in request.headers


def page(request: Request, listing: list[Listed]) -> dict[str, Any]:
    """A page of the models.

    Raises:
        InvalidField: a parameter of the query is not allowed.
    """
    query = request.query_params
    limit = _limit(query.get("limit"))
    ids = [item.name for item in listing]
    start, stop = 0, len(listing)
    if "after_id" in query:
        start = _position(ids, query["after_id"], "after_id") + 1
        stop = min(stop, start + limit)
    elif "before_id" in query:
        stop = _position(ids, query["before_id"], "before_id")
        start = max(0, stop - limit)
    else:
        stop = min(stop, limit)
    data = [model_info(item) for item in listing[start:stop]]
    return {
        "data": data,
        "has_more": start > 0 if "before_id" in query else stop < len(listing),
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def _limit(text: str | None) -> int:
    if text is None:
        return _DEFAULT_LIMIT
    if text.isascii() and text.isdigit() and 1 <= int(text) <= _LARGEST_LIMIT:
        return int(text)
    raise InvalidField(
        t("{name} = {value}: allowed is {allowed}", name="limit", value=repr(text), allowed=f"1 - {_LARGEST_LIMIT}"),
        param="limit",
    )


def _position(ids: list[str], wanted: str, name: str) -> int:
    if wanted in ids:
        return ids.index(wanted)
    raise InvalidField(t("{name}: there is no model {wanted!r} here", name=name, wanted=wanted), param=name)


def model_info(item: Listed) -> dict[str, Any]:
    """One model."""
    context = item.row.context_length if item.row is not None else None
    return {
        "type": "model",
        "id": item.name,
        "display_name": item.name,
        "created_at": datetime.fromtimestamp(item.created, UTC).isoformat().replace("+00:00", "Z"),
        "lifecycle": "active",
        "max_input_tokens": context,
        "max_tokens": context,
    }
