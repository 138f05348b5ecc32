"""Where everything lies, what it takes, and what of it can go."""

from __future__ import annotations

import asyncio

from nicegui import ui

from llmasos import hardware
from llmasos.i18n import t
from llmasos.studio import storage
from llmasos.studio.components import parts
from llmasos.studio.context import Context
from llmasos.units import format_bytes

_SHOWN_NAMES = 20


class StorageSection:
    """Looks through the home folder after the page is there."""

    def __init__(self, context: Context) -> None:
        self._context = context
        with parts.card():
            parts.title_line(2, t("Home folder"))
            ui.label(str(context.platform.library.home)).classes("mono")
            ui.label(t("It is chosen by LLMASOS_HOME or --home when the server is started.")).classes("small soft")
            self._free = parts.Bar(t("How full the disk is"))
            self._disk = ui.label("").classes("small soft number")
        with parts.card():
            parts.title_line(2, t("What it takes"))
            self._place = ui.element("div").classes("talk")
            with self._place:
                ui.label(t("Looking …")).classes("soft")
        if context.visitor.is_admin:
            with parts.card():
                parts.title_line(2, t("Clean up"))
                ui.label(
                    t("Versions that have lost their name, files that belong to nothing, and downloads that broke off.")
                ).classes("soft")
                caches = ui.checkbox(t("Also caches: prepared tokens and data that is made or fetched again"))

                async def look() -> None:
                    await self._preview(bool(caches.value))

                ui.button(t("Look what would go"), icon="cleaning_services",
                          on_click=context.handle(look, admin=True)).props("outline no-caps")  # fmt: skip
        ui.timer(0, context.handle(self._fill), once=True)

    async def _fill(self) -> None:
        library = self._context.platform.library
        disk = hardware.disk(library.home)
        self._free.show(1 - disk.free / disk.total)
        self._disk.text = t("{free} of {total} free", free=format_bytes(disk.free), total=format_bytes(disk.total))
        found = await asyncio.to_thread(storage.usage, library)
        names: dict[storage.Part, str] = {
            "model": t("Models"), "adapter": t("Adapters"), "dataset": t("Data sets"), "other": t("Other artefacts"),
            "runs": t("Runs"), "evaluations": t("Evaluations"), "uploads": t("Files that were sent"),
            "conversations": t("Conversations"),
            "cache": t("Caches"), "unneeded": t("Nothing needs it"), "rest": t("Catalogue and the rest"),
        }  # fmt: skip
        self._place.clear()
        with self._place:
            parts.facts([
                *((name, format_bytes(found.parts[part])) for part, name in names.items() if found.parts.get(part)),
                (t("Together"), format_bytes(found.total)),
            ])  # fmt: skip

    async def _preview(self, caches: bool) -> None:
        found = await asyncio.to_thread(storage.waste, self._context.platform.library)
        report, cached = found.report, found.caches if caches else 0
        total = report.bytes + report.draft_bytes + cached
        with ui.dialog() as dialog, parts.sheet():
            parts.title_line(2, t("What would go"))
            parts.facts([
                (t("Versions without a name"), len(report.versions) or None),
                (t("Files that belong to nothing"), t("{count}, {size}", count=len(report.blobs),
                                                      size=format_bytes(report.bytes)) if report.blobs else None),
                (t("Downloads that broke off"), t("{count}, {size}", count=report.drafts,
                                                  size=format_bytes(report.draft_bytes)) if report.drafts else None),
                (t("Caches"), format_bytes(cached) if cached else None),
                (t("Gets free"), format_bytes(total)),
            ])  # fmt: skip
            for digest in report.versions[:_SHOWN_NAMES]:
                ui.label(digest).classes("mono small")
            if len(report.versions) > _SHOWN_NAMES:
                ui.label(t("and {count} more", count=len(report.versions) - _SHOWN_NAMES)).classes("small soft")
            nothing = not (total or report.versions or report.views or report.lineage)
            ui.label(t("There is nothing to clean up.") if nothing else t("This cannot be undone."))

            async def clean() -> None:
                dialog.close()
                library = self._context.platform.library
                done = await asyncio.to_thread(storage.clean_up, library, caches=caches)
                ui.notify(t("{size} got free.", size=format_bytes(done.total)))
                await self._fill()

            with ui.element("div").classes("line"):
                if not nothing:
                    ui.button(t("Clean up"), color="negative",
                              on_click=self._context.handle(clean, admin=True)).props("unelevated no-caps")  # fmt: skip
                ui.button(t("Close") if nothing else t("Cancel"), on_click=dialog.close).props("flat no-caps")
        dialog.open()
