"""A model that another OpenAI-compatible server computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmasos.errors import Unsupported
from llmasos.server.configuration import UpstreamConfiguration
from llmasos.server.metrics import Metrics
from llmasos.server.serving.job import Generation, Job

if TYPE_CHECKING:
    from llmasos.modeling.results import Embedding


class UpstreamModel:
    """One model of one upstream server."""

    def __init__(self, name: str, configuration: UpstreamConfiguration, metrics: Metrics) -> None:
        self.name = name

    async def generate(self, job: Job, deadline_seconds: float | None) -> Generation:
        raise Unsupported("upstream")

    async def embed(self, texts: Sequence[str], **options: Any) -> list[Embedding]:
        raise Unsupported("upstream")

    async def close(self) -> None:
        """Close the connections."""
