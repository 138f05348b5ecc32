"""Parts of a page that are filled in after the page is there: what takes long to find out must not hold it up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from nicegui import ui

from llmasos.i18n import t
from llmasos.studio.context import Context

_Found = TypeVar("_Found")


def later(context: Context, gather: Callable[[], _Found], show: Callable[[_Found], None]) -> ui.element:
    """A place that is filled once something is found out.

    Args:
        gather: finds it out, on a thread of its own.
        show: builds the content of the place.
    """
    place = ui.element("div").classes("talk").props("aria-busy=true")
    with place:
        ui.label(t("Looking …")).classes("small soft")

    async def fill() -> None:
        try:
            found = await asyncio.to_thread(gather)
        finally:
            if not place.is_deleted:
                place.props(remove="aria-busy")
                place.clear()
        if not place.is_deleted:
            with place:
                show(found)

    ui.timer(0.01, context.handle(fill), once=True)
    return place
