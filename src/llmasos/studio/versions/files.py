"""The files of a version on its page, with a look into those that are text."""

from __future__ import annotations

import asyncio
from pathlib import PurePosixPath

from nicegui import ui

from llmasos.errors import Unsupported
from llmasos.i18n import t
from llmasos.library.digest import short
from llmasos.library.manifest import WEIGHT, Descriptor
from llmasos.library.store import Library
from llmasos.library.version import Version
from llmasos.studio.components import parts
from llmasos.studio.components.labelled import labelled
from llmasos.studio.context import Context
from llmasos.units import format_bytes

MOST = 64 * 1024
"""Bytes of a file that are shown."""
_LANGUAGES = {".json": "json", ".yaml": "yaml", ".yml": "yaml", ".md": "markdown", ".py": "python", ".jsonl": "json"}


def show(context: Context, version: Version) -> None:
    """One line a file."""
    for path, file in version.manifest.files.items():
        with ui.element("div").classes("line apart"):
            ui.label(path).classes("mono")
            with ui.element("div").classes("line").style("width: auto"):
                ui.label(short(file.digest)).classes("small soft mono").tooltip(file.digest)
                ui.label(format_bytes(file.size)).classes("small soft number")
                if file.media_type != WEIGHT:
                    look = context.handle(lambda path=path, file=file: _look(context, path, file))
                    button = ui.button(icon="visibility", on_click=look).props("flat round dense")
                    labelled(button, t("Look into {file}", file=path))


async def _look(context: Context, path: str, file: Descriptor) -> None:
    content = await asyncio.to_thread(beginning, context.platform.library, path, file)
    with labelled(ui.dialog(), path) as dialog, parts.sheet().classes("look"):
        with ui.element("div").classes("line apart"):
            parts.title_line(2, path)
            ui.button(icon="close", on_click=dialog.close).props(f'flat round dense aria-label="{t("Close")}"')
        ui.label(file.digest).classes("small soft mono")
        if file.size > MOST:
            ui.label(t("The first {part} of {whole}.", part=format_bytes(MOST), whole=format_bytes(file.size))).classes(
                "small soft"
            )
        parts.code(content, _LANGUAGES.get(PurePosixPath(path).suffix.lower(), "text"))
    dialog.on("hide", dialog.delete)
    dialog.open()


def beginning(library: Library, path: str, file: Descriptor) -> str:
    """The text at the beginning of a file.

    Raises:
        IntegrityError: the blob is missing.
        Unsupported: it is no text in UTF-8.
    """
    with library.blobs.open(file.digest) as opened:
        data = opened.read(MOST)
    whole = len(data) == file.size
    try:
        if b"\0" in data:
            raise UnicodeDecodeError("utf-8", data, 0, 1, "NUL")
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if not whole and error.start >= len(data) - 3 and b"\0" not in data:  # a character that was cut in two
            return data[: error.start].decode("utf-8")
        raise Unsupported(
            t("{path} is not text", path=path), hint=t("Take it out with `llmasos export` to open it.")
        ) from error
