from __future__ import annotations

import pytest

from llmasos.units import format_bytes, format_count, format_duration, format_rate


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024 * 1024 - 1, "1.0 MiB"),
        (271_000_000, "258 MiB"),
        (5 * 2**30, "5.0 GiB"),
        (2**60, "1024 PiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_bytes(size: int, text: str) -> None:
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (950, "950"), (1000, "1K"), (134_515_008, "135M"), (1_543_714_304, "1.544B"), (22_713_216, "22.71M")],
)
def test_count(count: int, text: str) -> None:
    assert format_count(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0851, "85 ms"),
        (0.9999, "1.0 s"),
        (3.21, "3.2 s"),
        (59.96, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3720, "1 h 02 min"),
        (3 * 86400 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_rate() -> None:
    assert format_rate(2**20 * 30, 2, "B") == "15.0 MiB/s"
    assert format_rate(70, 2, "tokens") == "35.0 tokens/s"
    assert format_rate(70, 0, "tokens") == "0.0 tokens/s"
