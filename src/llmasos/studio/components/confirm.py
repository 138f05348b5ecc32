"""Asking before something is destroyed."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

from nicegui import ui

from llmasos.i18n import t
from llmasos.studio.components import parts
from llmasos.studio.components.labelled import labelled
from llmasos.studio.context import Context


def confirm(
    context: Context, question: str, explanation: str, action: str, do: Callable[[], Awaitable[None] | None], *,
    admin: bool = False,
) -> None:  # fmt: skip
    """Ask; ``do`` is called if the person presses the button named ``action`` and, if ``admin``, is an admin."""
    with labelled(ui.dialog(), question) as dialog, parts.sheet():
        parts.title_line(2, question)
        ui.label(explanation)

        async def agreed() -> None:
            dialog.close()
            done = do()
            if inspect.isawaitable(done):
                await done

        with ui.element("div").classes("line"):
            ui.button(action, color="negative", on_click=context.handle(agreed, admin=admin)).props(
                "unelevated no-caps"
            )
            ui.button(t("Cancel"), on_click=dialog.close).props("flat no-caps")
    dialog.open()
