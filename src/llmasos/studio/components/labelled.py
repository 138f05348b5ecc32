"""Names of controls for screen readers, from texts that may hold anything."""

from __future__ import annotations

from typing import TypeVar

from nicegui.element import Element

_Element = TypeVar("_Element", bound=Element)


def labelled(element: _Element, name: str) -> _Element:
    """The element, with this name. Unlike a text given to ``props()``, it is not read as properties."""
    element.props["aria-label"] = name
    return element
