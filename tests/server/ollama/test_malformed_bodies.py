"""Bodies of every kind of nonsense for Ollama's routes: always an answer below 500, in this API's form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.running import Running
from server.test_malformed import attack, mutated

ROUTES: dict[str, dict[str, Any]] = {
    "/api/chat": {"model": "llama", "messages": [{"role": "user", "content": "a"}], "options": {"num_predict": 2}},
    "/api/generate": {"model": "llama", "prompt": "a", "options": {"num_predict": 2}, "stream": False},
    "/api/embed": {"model": "llama", "input": "a"},
    "/api/embeddings": {"model": "llama", "prompt": "a"},
    "/api/show": {"model": "llama"},
    "/api/create": {"model": "x:y", "from": "nothing-of-this-name"},
    "/api/copy": {"source": "nothing-of-this-name", "destination": "x"},
    "/api/pull": {"model": "nothing-of-this-name"},
    "/api/push": {"model": "nothing-of-this-name"},
}


@pytest.fixture(scope="module")
def client(tiny: Running) -> Iterator[httpx.Client]:
    with tiny.client() as opened:
        yield opened


@pytest.mark.parametrize("path", ROUTES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_malformed_bodies_are_refused_in_this_apis_form(client: httpx.Client, path: str, data: st.DataObject) -> None:
    attack(client, path, data.draw(mutated(ROUTES[path])))
