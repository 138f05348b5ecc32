"""A page of the Studio."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """What the frame needs to know of a page.

    Attributes:
        path: below the Studio's root; ``{name}`` stands for a part of the address, which ``build`` gets by that name.
        title: its name in the language in force.
        icon: of Material Icons.
        build: puts the content into the element that is open.
        section: path of the navigation's entry that it belongs to; default: its own.
    """

    path: str
    title: Callable[[], str]
    icon: str
    build: Callable[..., None]
    section: str | None = None

    @property
    def in_navigation(self) -> bool:
        """Whether it is an entry of its own."""
        return self.section is None

    def belongs_to(self, entry: Page) -> bool:
        """Whether an entry of the navigation is the one to mark."""
        return entry.path == (self.section or self.path)
