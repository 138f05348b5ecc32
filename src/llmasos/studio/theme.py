"""One visual language: colours, type and spacing, in light and dark. The rules are in ``static/studio.css``."""

from __future__ import annotations

from importlib import resources

from nicegui import ui

#: Quasar's own components take these; everything else takes the variables of the style sheet.
COLOURS = {
    "primary": "#4338ca", "secondary": "#0f766e", "accent": "#0f766e", "positive": "#15803d", "negative": "#b91c1c",
    "warning": "#b45309", "info": "#1d4ed8", "dark": "#1c1f2b", "dark_page": "#12141c",
}  # fmt: skip


def apply() -> None:
    """Give the page that is being built our look."""
    ui.colors(**COLOURS)
    style = (resources.files("llmasos.studio") / "static" / "studio.css").read_text(encoding="utf-8")
    ui.add_css(style)
