"""Tagged unions whose commonest member needs no tag."""

from __future__ import annotations

from pydantic import BeforeValidator


def default_tag(key: str, value: str) -> BeforeValidator:
    """Add ``key: value`` to a mapping that has no ``key``."""

    def add(given: object) -> object:
        return {key: value, **given} if isinstance(given, dict) and key not in given else given

    return BeforeValidator(add)
