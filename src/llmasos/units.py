"""Sizes, counts, durations and rates as people read them; the only place that formats them."""

from __future__ import annotations

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_COUNT = ("", "K", "M", "B", "T")


def _scaled(value: float, step: float, last: int) -> tuple[float, int]:
    """``value`` divided by ``step`` until its three-digit form is below ``step``; and how often it was divided."""
    power = 0
    while abs(value) >= step * 0.9995 and power < last:
        value /= step
        power += 1
    return value, power


def _three_digits(value: float) -> str:
    if abs(value) >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}"


def format_bytes(size: float) -> str:
    """A number of bytes in binary units: ``512 B``, ``1.5 KiB``, ``259 MiB``."""
    value, power = _scaled(float(size), 1024.0, len(_BINARY) - 1)
    return f"{value:.0f} B" if power == 0 else f"{_three_digits(value)} {_BINARY[power]}"


def format_count(count: float) -> str:
    """A large number in short: ``950``, ``134.5M``, ``1.5B`` (parameters, tokens)."""
    value, power = _scaled(float(count), 1000.0, len(_COUNT) - 1)
    if power == 0:
        return f"{value:.0f}"
    return f"{_three_digits(value) if abs(value) >= 99.95 else format(value, '.4g')}{_COUNT[power]}"


def format_duration(seconds: float) -> str:
    """A duration: ``85 ms``, ``3.2 s``, ``2 min 05 s``, ``1 h 02 min``, ``3 d 4 h``."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def format_rate(amount: float, seconds: float, unit: str) -> str:
    """``amount`` of ``unit`` (``"B"`` for bytes) in ``seconds``, per second: ``12.3 MiB/s``, ``35.1 tokens/s``."""
    rate = amount / seconds if seconds > 0 else 0.0
    return f"{format_bytes(rate)}/s" if unit == "B" else f"{_three_digits(rate)} {unit}/s"
