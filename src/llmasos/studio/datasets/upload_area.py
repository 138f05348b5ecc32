"""Where files are dropped or chosen to be sent to this machine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nicegui import events
from nicegui.element import Element

from llmasos.data.sources.compression import SUFFIXES
from llmasos.data.sources.scan import ENDINGS
from llmasos.i18n import t
from llmasos.settings import get_settings
from llmasos.studio.context import Context
from llmasos.units import format_bytes


class UploadArea(Element, component="upload_area.js"):
    """Built into the element that is open.

    Args:
        on_received: gets the names of the files that have come, when all have.
    """

    def __init__(self, context: Context, on_received: Callable[[list[str]], Awaitable[None] | None]) -> None:
        super().__init__()
        self._props["accept"] = ",".join((*ENDINGS, *SUFFIXES))
        self._props["texts"] = {
            "choose": t("Choose files"),
            "drop": t("or drop them here"),
            "limit": t("CSV, TSV, JSON, JSONL, Parquet, Arrow, text, Markdown, HTML, PDF, also compressed; "
                       "up to {size} each", size=format_bytes(get_settings().upload_limit)),
            "waiting": t("waiting"),
            "cancel": t("Cancel"),
            "hide": t("Close"),
            "folder": t("This is a folder. Send the files in it, or give its path below if it is on this machine."),
            "broken": t("The connection broke off, and nothing of the file is kept. Send it again."),
        }  # fmt: skip

        def received(event: events.GenericEventArguments) -> Awaitable[None] | None:
            return on_received([str(name) for name in event.args])

        self.on("received", context.handle(received))
