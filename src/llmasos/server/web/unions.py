"""Unions in the bodies of requests, told apart before they are checked, so that an error names the one place that is
wrong. Tags stand in angle brackets: that is how the paths of errors know to leave them out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

TEXT, LIST, OTHER = "<text>", "<list>", "<other>"


def text_or_list(value: object) -> str:
    """The tag of a value that is a text or a list."""
    return TEXT if isinstance(value, str) else LIST


def by_type(*known: str, absent: str | None = None) -> Callable[[object], str]:
    """A discriminator for objects with a ``type``.

    Args:
        known: types with a class of their own, tagged ``<type>``; all others are tagged :data:`OTHER`.
        absent: what an object without a type is.
    """

    def tag(value: object) -> str:
        kind = value.get("type", absent) if isinstance(value, Mapping) else getattr(value, "type", absent)
        return f"<{kind}>" if kind in known else OTHER

    return tag
