"""The list of models as Anthropic's clients read it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from server.running import Running
from server.scripted import scripted

HEADERS = {"anthropic-version": "2023-06-01"}
NAMES = ["a", "b", "c", "d"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """``pages(limit=2)``: a page of four models."""
    upstreams = {name: {"url": "http://127.0.0.1:1/v1"} for name in NAMES}
    home: Path = tmp_path_factory.mktemp("models")
    with scripted(home, upstreams=upstreams) as opened:
        yield lambda **query: opened.client.get("/v1/models", params=query, headers=HEADERS)


@pytest.mark.parametrize(("query", "ids", "more"), [
    ({}, NAMES, False), ({"limit": 2}, ["a", "b"], True), ({"limit": 2, "after_id": "b"}, ["c", "d"], False),
    ({"limit": 1, "after_id": "b"}, ["c"], True), ({"limit": 2, "before_id": "d"}, ["b", "c"], True),
    ({"before_id": "b"}, ["a"], False), ({"after_id": "d"}, [], False),
])  # fmt: skip
def test_pages(pages: Any, query: dict[str, Any], ids: list[str], more: bool) -> None:
    page = pages(**query).json()
    assert [item["id"] for item in page["data"]] == ids and page["has_more"] is more
    assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"after_id": "z"}])
def test_odd_pages_are_refused(pages: Any, query: dict[str, Any]) -> None:
    answer = pages(**query)
    assert answer.status_code == 400
    assert answer.json()["type"] == "error" and next(iter(query)) in answer.json()["error"]["message"]


def test_each_client_gets_its_own_form(tiny: Running) -> None:
    with tiny.client() as client:
        theirs = client.get("/v1/models/llama", headers=HEADERS).json()
        openai = client.get("/v1/models/llama").json()
        missing = client.get("/v1/models/none", headers=HEADERS)
        listed = client.get("/v1/models", headers=HEADERS).json()
    assert theirs["type"] == "model" and theirs["id"] == theirs["display_name"] == "llama"
    assert datetime.fromisoformat(theirs["created_at"]).tzinfo is not None
    assert openai["object"] == "model"
    assert missing.status_code == 404 and missing.json()["error"]["type"] == "not_found_error"
    assert theirs in listed["data"]
