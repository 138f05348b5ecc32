"""How a model sees the rows: tokens, which are learned, what is cut or left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from llmasos.data.preview import Preview, preview
from llmasos.data.preview_html import as_html
from llmasos.data.rendering import Renderer, RenderingAccount, RenderingOptions
from llmasos.data.rendering.options import AsPrompt
from llmasos.data.rendering.renderer import label_names
from llmasos.data.rendering.sample import RejectedRow
from llmasos.data.row import Row
from llmasos.errors import LLMasOSError
from llmasos.i18n import t
from llmasos.library.kind import Kind
from llmasos.library.store import Library
from llmasos.modeling.folder import Family
from llmasos.sdk import open_tokenizer_folder
from llmasos.settings import get_settings
from llmasos.studio import address
from llmasos.studio.components import parts
from llmasos.studio.components.labelled import labelled
from llmasos.studio.context import Context
from llmasos.studio.datasets.reading import reading


@dataclass(frozen=True)
class _Seen:
    """What came out for some rows, and one of them in full."""

    account: RenderingAccount
    lengths: list[int]
    rejected: int
    shown: Preview


class Rendered:
    """The controls and the result; built into the element that is open."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rows: Sequence[Row] = ()
        self._number = 0
        self._newest = 0
        library = context.platform.library
        names = [row.names[0] for row in library.versions(kind=Kind.MODEL.value) if row.names]
        if not names:
            with parts.empty("view_in_ar", t("There is no model yet."),
                             t("A model's tokenizer and chat template tell what becomes of the rows.")):  # fmt: skip
                ui.link(t("To the models"), address.models())
            self._place = None
            return
        default = get_settings().default_model
        changed = context.handle(self._show)
        with ui.element("div").classes("fields"):
            self._model = ui.select(names, value=default if default in names else names[0], label=t("Model"),
                                    on_change=changed)  # fmt: skip
            self._length = ui.number(label=t("Most tokens of a row"), min=2, precision=0, on_change=changed,
                                     placeholder=t("what the model can read"))  # fmt: skip
            policies = {
                "drop": t("leave them out"), "truncate": t("cut them"), "split": t("divide them"), "error": t("stop"),
            }  # fmt: skip
            self._overlong = ui.select(policies, value="drop", label=t("Rows that are longer"), on_change=changed)
            for control in (self._model, self._length, self._overlong):
                control.props("outlined dense")
            self._length.props("debounce=400")
        with ui.element("div").classes("line") as self._steps:
            before = ui.button(icon="chevron_left", on_click=context.handle(lambda: self._turn(-1)))
            labelled(before.props("flat round dense"), t("The row before"))
            self._where = ui.label("").classes("small soft number")
            after = ui.button(icon="chevron_right", on_click=context.handle(lambda: self._turn(1)))
            labelled(after.props("flat round dense"), t("The next row"))
        self._place = ui.element("div").classes("talk").props("aria-live=polite")

    async def show(self, rows: Sequence[Row]) -> None:
        """Show other rows."""
        self._rows, self._number = rows, 0
        await self._show()

    async def _turn(self, step: int) -> None:
        self._number = min(max(self._number + step, 0), max(len(self._rows) - 1, 0))
        await self._show()

    async def _show(self) -> None:
        place = self._place
        if place is None:
            return
        self._newest += 1
        mine = self._newest
        self._steps.set_visibility(bool(self._rows))
        self._where.text = t("row {number} of {count}", number=self._number + 1, count=len(self._rows))
        if not self._rows:
            place.clear()
            return
        seen: _Seen | Exception
        try:
            options = RenderingOptions.model_validate(
                {"max_length": int(self._length.value) if self._length.value else None,
                 "overlong": {"kind": self._overlong.value}}
            )  # fmt: skip
            library, model, rows = self._context.platform.library, str(self._model.value), self._rows
            seen = await reading(_render, library, model, options, rows, self._number)
        except (LLMasOSError, ValueError) as error:
            seen = error
        if place.is_deleted or mine != self._newest:
            return
        place.clear()
        with place:
            _tell(seen, len(self._rows))


def _render(library: Library, model: str, options: RenderingOptions, rows: Sequence[Row], number: int) -> _Seen:
    folder = open_tokenizer_folder(model, library=library)
    if folder.family is not Family.SEQ2SEQ:  # one sequence is all that such a model reads
        options = options.model_copy(update={"parallel": AsPrompt()})
    renderer = Renderer.of_model(folder, options, labels=() if folder.labels else label_names(rows))
    account = RenderingAccount()
    lengths: list[int] = []
    rejected = 0
    for item in renderer.render(rows, account):
        if isinstance(item, RejectedRow):
            rejected += 1
        else:
            lengths.append(sum(len(part) for part in item.parts.values()))
    return _Seen(account, sorted(lengths), rejected, preview(renderer, [rows[number]]))


def _tell(seen: _Seen | Exception, count: int) -> None:
    if isinstance(seen, Exception):
        ui.label(getattr(seen, "message", str(seen))).classes("wrong")
        if hint := getattr(seen, "hint", None):
            ui.label(hint).classes("small soft")
        return
    lengths: list[Any] = seen.lengths
    with ui.element("div").classes("line"):
        parts.pill(t("of {count} rows looked at", count=f"{count:,}"))
        parts.pill(t("{count} left out", count=f"{seen.rejected:,}"), "bad" if seen.rejected else "good")
        parts.pill(t("{count} cut", count=f"{seen.account.truncated:,}"), "warn" if seen.account.truncated else "good")
        if lengths:
            half, most = lengths[len(lengths) // 2], lengths[-1]
            told = t("tokens of a sample: {half} in the middle, {most} at most", half=f"{half:,}", most=f"{most:,}")
            ui.label(told).classes("small soft number")
    for note in seen.account.notes():
        ui.label(note).classes("small soft")
    ui.html(as_html(seen.shown), sanitize=False).classes("w-full")  # escaped where it is made
