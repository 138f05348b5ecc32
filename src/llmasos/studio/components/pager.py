"""Which part of a long list is on the screen, with buttons to the parts before and after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nicegui import ui

from llmasos.i18n import t
from llmasos.studio.context import Context


class Pager:
    """Built into the element that is open.

    Args:
        size: entries of a part.
        show: shows the part that begins at :attr:`start`, and tells it by :meth:`tell`.
        before, after: what the buttons are called.
    """

    def __init__(
        self, context: Context, size: int, show: Callable[[], Awaitable[None]], *, before: str, after: str
    ) -> None:
        self._context, self._size, self._show = context, size, show
        self.start = 0
        with ui.element("div").classes("line apart"):
            self._told = ui.label("").classes("small soft number").props("aria-live=polite")
            with ui.element("div").classes("line").style("width: auto"):
                self._before = self._button("chevron_left", before, -size)
                self._after = self._button("chevron_right", after, size)

    def tell(self, shown: int, count: int) -> None:
        """Tell how many entries are on the screen, of how many."""
        first = self.start + 1 if count else 0
        self._told.text = t(
            "{first} to {last} of {count}", first=f"{first:,}", last=f"{self.start + shown:,}", count=f"{count:,}"
        )
        self._before.set_enabled(self.start > 0)
        self._after.set_enabled(self.start + self._size < count)

    def _button(self, icon: str, name: str, step: int) -> ui.button:
        async def turn() -> None:
            self.start = max(self.start + step, 0)
            await self._show()

        return ui.button(icon=icon, on_click=self._context.handle(turn)).props(f'flat round aria-label="{name}"')
