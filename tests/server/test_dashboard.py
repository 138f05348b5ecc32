"""The Grafana dashboard asks for metrics that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

from server.running import Running

DASHBOARD = Path(__file__).parents[2] / "examples" / "monitoring" / "grafana-dashboard.json"


def test_every_metric_of_the_dashboard_is_served(tiny: Running) -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = {name for text in expressions for name in re.findall(r"llmasos_\w+", text)}
    with tiny.client() as client:
        client.post("/v1/completions", json={"model": "llama", "prompt": "a", "max_tokens": 3})
        served = client.get("/metrics").text
    declared = {line.split()[2] for line in served.splitlines() if line.startswith("# TYPE")}
    known = declared | {f"{name}_bucket" for name in declared}
    assert len(asked) >= 15 and asked <= known, asked - known
