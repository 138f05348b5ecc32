"""The OpenAPI document describes the server, and the server does what it says: checked by schemathesis."""

from __future__ import annotations

from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error

from server.running import Running


@pytest.mark.integration
def test_no_input_makes_the_server_fail(tiny: Running) -> None:
    schema = schemathesis.openapi.from_url(f"{tiny.address}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) >= 10
    for operation in operations:

        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.as_strategy())
        def check(case: schemathesis.Case) -> None:
            response = case.call(timeout=60)
            case.validate_response(response, checks=[not_a_server_error])

        check()


def test_the_document_is_complete(tiny: Running, tmp_path: Path) -> None:
    with tiny.client() as client:
        document = client.get("/openapi.json").json()
        assert client.get("/docs").status_code == 200
    paths = document["paths"]
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/models", "/tokenize", "/health"):
        assert path in paths
    body = paths["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"messages", "model", "structured_outputs"} <= set(body["properties"])
    text = str(document)
    for reference in {part.split("'")[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in document["components"]["schemas"]
