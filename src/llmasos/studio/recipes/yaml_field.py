"""The YAML of a recipe, to read and to write."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Literal

from nicegui import ui

from llmasos.i18n import t
from llmasos.studio.context import Context

_LIGHT: Literal["githubLight"] = "githubLight"
_DARK: Literal["githubDark"] = "githubDark"
"""Those among the editor's colours whose contrast is high enough to read."""


class YamlField:
    """A field for YAML with numbered lines.

    Args:
        written: called with the text when a person has changed it.
    """

    def __init__(self, context: Context, text: str, written: Callable[[str], None]) -> None:
        self._shown = text
        self._written = written
        self._element = ui.codemirror(
            text, language="YAML", theme=_DARK if context.preferences.dark else _LIGHT, line_wrapping=True, indent="  "
        )
        self._element.classes("yaml").on_value_change(context.handle(self._changed))
        # The editor has no place for a name, which screen readers tell; and it is there a moment after the page.
        ui.run_javascript(
            "(function name(left) {"
            f" const field = document.querySelector('#{self._element.html_id} .cm-content');"
            f" if (field) field.setAttribute('aria-label', {json.dumps(t('Recipe as YAML'))});"
            " else if (left) setTimeout(() => name(left - 1), 100); })(100)"
        )
        if context.preferences.dark is None:
            ui.timer(0, self._as_the_system, once=True)

    def show(self, text: str) -> None:
        """Show another text, unless it stands there already."""
        if text != self._element.value:
            self._shown = text
            self._element.value = text

    def _changed(self) -> None:
        text = self._element.value or ""
        if text != self._shown:
            self._shown = text
            self._written(text)

    async def _as_the_system(self) -> None:
        with contextlib.suppress(TimeoutError):  # the page was closed
            if await ui.run_javascript("matchMedia('(prefers-color-scheme: dark)').matches"):
                self._element.theme = _DARK
