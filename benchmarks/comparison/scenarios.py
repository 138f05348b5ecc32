"""What is asked of every engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 40},
        "year": {"type": "integer", "minimum": 1000, "maximum": 2100},
        "kind": {"enum": ["person", "place", "event", "work", "other"]},
        "keywords": {"type": "array", "items": {"type": "string", "maxLength": 16}, "minItems": 4, "maxItems": 4},
        "scores": {
            "type": "array",
            "items": {"type": "integer", "minimum": 0, "maximum": 100},
            "minItems": 8,
            "maxItems": 8,
        },
        "summary": {"type": "string", "maxLength": 120},
        "complete": {"type": "boolean"},
    },
    "required": ["title", "year", "kind", "keywords", "scores", "summary", "complete"],
    "additionalProperties": False,
}
"""Bounded everywhere, so that outputs have about the same length with every engine."""


@dataclass(frozen=True)
class Scenario:
    """A job for an engine; all requests arrive at once."""

    name: str
    title: str
    streams: int
    prompt_tokens: int
    new_tokens: int
    prefix_tokens: int = 0
    """Tokens before those of ``prompt_tokens`` that all requests of a run share."""
    kind: Literal["text", "copy", "json", "adapters"] = "text"
    counts: Literal["output", "prompt"] = "output"
    """Which tokens per second are the figure."""


SCENARIOS: tuple[Scenario, ...] = (
    Scenario("unrelated-1", "1 stream", 1, 110, 128),
    Scenario("unrelated-4", "4 streams", 4, 110, 128),
    Scenario("unrelated-16", "16 streams", 16, 110, 128),
    Scenario("unrelated-32", "32 streams", 32, 110, 128),
    Scenario("prefix-16", "16 streams with the same first 1,000 tokens", 16, 60, 128, prefix_tokens=1000),
    Scenario("adapters-16", "16 streams with 16 LoRA adapters", 16, 110, 128, kind="adapters"),
    Scenario("json-16", "16 streams of JSON after a schema", 16, 110, 224, kind="json"),
    Scenario("copy-1", "1 stream that copies from its prompt", 1, 96, 128, kind="copy"),
    Scenario("copy-4", "4 streams that copy from their prompts", 4, 96, 128, kind="copy"),
    Scenario("prefill-512", "reading 512 tokens", 1, 512, 1, counts="prompt"),
    Scenario("prefill-2000", "reading 2,000 tokens", 1, 2000, 1, counts="prompt"),
)


def shortened(scenario: Scenario) -> Scenario:
    """The same with less work: shows that everything runs, and roughly how fast."""
    return replace(
        scenario,
        new_tokens=min(scenario.new_tokens, 224 if scenario.kind == "json" else 32),
        prefix_tokens=min(scenario.prefix_tokens, 320),
        streams=min(scenario.streams, 16),
    )
