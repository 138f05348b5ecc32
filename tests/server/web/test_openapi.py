"""The OpenAPI document."""

from __future__ import annotations

import json
import re
from pathlib import Path

from llmasos.library.store import Library
from llmasos.server.application import create_application
from llmasos.server.configuration import ServerConfiguration
from llmasos.server.serving.service import ModelService


def test_every_reference_leads_to_a_schema_of_the_same_api(tmp_path: Path) -> None:
    service = ModelService(ServerConfiguration(), Library(tmp_path / "home"))
    document = create_application(service).openapi()
    schemas = document["components"]["schemas"]
    assert set(re.findall(r'#/components/schemas/([^"]+)"', json.dumps(document))) <= set(schemas)
    for path, api, field in (("/api/chat", "ollama", "thinking"), ("/v1/chat/completions", "openai", "refusal")):
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert f"#/components/schemas/{api}.ChatMessage" in json.dumps(body["properties"]["messages"])
        assert field in schemas[f"{api}.ChatMessage"]["properties"]
