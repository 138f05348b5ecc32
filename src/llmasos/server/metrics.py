"""What a server counts, for Prometheus."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from llmasos.engine.request import Usage
    from llmasos.engine.service import ServiceStats

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_PAUSES = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5)


class EngineCollector(Collector):
    """Gauges and counters of the engines, read when somebody asks."""

    def __init__(self, engines: Callable[[], Iterable[tuple[str, ServiceStats]]]) -> None:
        self._engines = engines

    def collect(self) -> Iterator[Metric]:
        rows = list(self._engines())
        for kind, families in ((GaugeMetricFamily, _ENGINE_GAUGES), (CounterMetricFamily, _ENGINE_COUNTERS)):
            for name, description, field in families:
                family = kind(f"llmasos_{name}", description, labels=["model"])
                for model, stats in rows:
                    if hasattr(stats, field):
                        family.add_metric([model], getattr(stats, field))
                yield family


# Names of fields of the statistics; an engine without a key-value cache has fewer of them.
_ENGINE_GAUGES = (
    ("requests_running", "Outputs that are computed now.", "running"),
    ("requests_waiting", "Outputs that wait for room.", "waiting"),
    ("cache_blocks", "Blocks of the key-value cache.", "blocks"),
    ("cache_blocks_free", "Blocks of the key-value cache that nothing uses.", "free_blocks"),
)
_ENGINE_COUNTERS = (
    ("engine_passes", "Passes through the model.", "passes"),
    ("engine_rows", "Tokens computed, prompts and drafts included.", "rows"),
    ("preemptions", "Outputs that stepped back because the cache was full.", "preemptions"),
    ("cache_evictions", "Blocks of past prefixes that made room.", "evictions"),
    ("speculative_proposed", "Tokens guessed ahead.", "speculative_proposed"),
    ("speculative_accepted", "Guesses that stood.", "speculative_accepted"),
)


class Metrics:
    """All metrics of one server, in a registry of its own.

    Args:
        engines: the statistics of the engines that run now, by the model's name.
    """

    def __init__(self, engines: Callable[[], Iterable[tuple[str, ServiceStats]]]) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(EngineCollector(engines))
        process = psutil.Process()
        memory = Gauge("llmasos_memory_bytes", "Resident memory of the server.", registry=self.registry)
        memory.set_function(lambda: process.memory_info().rss)
        self.models_loaded = Gauge("llmasos_models_loaded", "Models in memory.", registry=self.registry)
        self.model_loads = Counter(
            "llmasos_model_loads", "Models loaded since the start.", ["model"], registry=self.registry
        )
        self.model_load_seconds = Histogram(
            "llmasos_model_load_seconds", "Time to load a model.", buckets=_SECONDS, registry=self.registry
        )
        self.responses = Counter(
            "llmasos_http_responses", "Answers by route and status.", ["route", "status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "llmasos_http_request_seconds", "From the request to the last byte of the answer.", ["route"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.refused = Counter(
            "llmasos_requests_refused", "Requests answered with 429, by reason.", ["reason"], registry=self.registry
        )
        self.cancelled = Counter(
            "llmasos_requests_cancelled", "Requests whose client went away.", ["model"], registry=self.registry
        )
        self.first_token_seconds = Histogram(
            "llmasos_time_to_first_token_seconds", "From the request to its first token.", ["model"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.inter_token_seconds = Histogram(
            "llmasos_inter_token_seconds", "Between news of an output.", ["model"], buckets=_PAUSES,
            registry=self.registry,
        )  # fmt: skip
        self.queue_seconds = Histogram(
            "llmasos_queue_seconds", "From the request to its first pass.", ["model"], buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self.prompt_tokens = Counter("llmasos_prompt_tokens", "Tokens of prompts.", ["model"], registry=self.registry)
        self.cached_tokens = Counter(
            "llmasos_cached_tokens", "Tokens of prompts found in the cache.", ["model"], registry=self.registry
        )
        self.output_tokens = Counter("llmasos_output_tokens", "Tokens of outputs.", ["model"], registry=self.registry)
        self.upstream_failures = Counter(
            "llmasos_upstream_failures", "Failed calls of upstream servers.", ["model", "reason"],
            registry=self.registry,
        )  # fmt: skip

    def first_token_quantile(self, model: str, share: float) -> float | None:
        """Seconds within which this share of a model's requests had their first token, as far as the buckets tell.

        Within its bucket a request is taken to lie anywhere alike, as Prometheus' ``histogram_quantile`` does it.
        ``None``: there were none.
        """
        buckets = [
            (float(sample.labels["le"]), sample.value)
            for family in self.first_token_seconds.collect()
            for sample in family.samples
            if sample.name.endswith("_bucket") and sample.labels["model"] == model
        ]
        if not buckets or not buckets[-1][1]:
            return None
        wanted = share * buckets[-1][1]
        low, below = 0.0, 0.0
        for high, count in buckets:
            if count > below and count >= wanted:
                return low if math.isinf(high) else low + (high - low) * (wanted - below) / (count - below)
            low, below = high, count
        raise AssertionError("the last bucket has all")

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class GenerationTimer:
    """Times of one generation, handed to the metrics as they come."""

    __slots__ = ("_last", "_metrics", "_model", "_observe_pause", "_started")

    def __init__(self, metrics: Metrics, model: str, started: float) -> None:
        self._metrics, self._model, self._started = metrics, model, started
        self._last: float | None = None
        self._observe_pause = metrics.inter_token_seconds.labels(model).observe

    def news(self) -> None:
        """Some tokens have come."""
        now = time.monotonic()
        if self._last is None:
            self._metrics.first_token_seconds.labels(self._model).observe(now - self._started)
        else:
            self._observe_pause(now - self._last)
        self._last = now

    def end(self, usage: Usage) -> None:
        """The last piece has come."""
        metrics, model = self._metrics, self._model
        metrics.queue_seconds.labels(model).observe(usage.queue_seconds)
        metrics.prompt_tokens.labels(model).inc(usage.prompt_tokens)
        metrics.cached_tokens.labels(model).inc(usage.cached_tokens)
        metrics.output_tokens.labels(model).inc(usage.completion_tokens)
