"""What the server measures of itself."""

from __future__ import annotations

import pytest

from llmasos.server.metrics import Metrics


def metrics_of(**seconds: list[float]) -> Metrics:
    metrics = Metrics(lambda: ())
    for model, values in seconds.items():
        for value in values:
            metrics.first_token_seconds.labels(model).observe(value)
    return metrics


def test_quantiles_of_the_first_token_lie_in_the_bucket_of_their_request() -> None:
    metrics = metrics_of(a=[0.03] * 90 + [0.7] * 10, b=[100.0])
    half, late = metrics.first_token_quantile("a", 0.5), metrics.first_token_quantile("a", 0.95)
    assert half is not None and late is not None
    assert 0.0 < half <= 0.1 and 0.5 <= late <= 1.0


def test_within_a_bucket_requests_lie_evenly() -> None:
    metrics = metrics_of(a=[0.03] * 4)
    whole, half = metrics.first_token_quantile("a", 1.0), metrics.first_token_quantile("a", 0.5)
    lowest = metrics.first_token_quantile("a", 0.0)
    assert whole is not None and half is not None and lowest is not None
    assert half == pytest.approx((lowest + whole) / 2) and lowest < 0.03 <= whole


def test_beyond_the_last_bucket_its_edge_is_told() -> None:
    metrics = metrics_of(a=[1e6])
    edge = metrics.first_token_quantile("a", 0.5)
    assert edge is not None and 0 < edge < 1e6


def test_without_requests_there_is_no_quantile() -> None:
    assert metrics_of(a=[0.1]).first_token_quantile("b", 0.5) is None
