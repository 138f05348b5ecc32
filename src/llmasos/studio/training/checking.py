"""The check before a training: what it will take, and everything that stands in its way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

from nicegui import ui

from llmasos.i18n import t
from llmasos.studio.components import parts
from llmasos.studio.context import Context
from llmasos.training.preflight.elsewhere import check_elsewhere
from llmasos.training.preflight.report import Finding, Report
from llmasos.training.preflight.text import sections
from llmasos.training.recipe.kinds import TrainingRecipe

_TONES: dict[str, parts.Tone] = {"error": "bad", "warning": "warn", "note": "plain"}


class Checking:
    """The result of the newest check; built into the element that is open.

    Args:
        recipe: the recipe as it stands, with absolute paths; raises with all problems where it is not valid.
        text: its text.
    """

    def __init__(self, context: Context, recipe: Callable[[], TrainingRecipe], text: Callable[[], str]) -> None:
        self._context, self._recipe, self._text = context, recipe, text
        self._checked: tuple[str, Report] | None = None
        self._busy = False
        self._note = ui.label("").classes("small soft").props("role=status")
        self._place = ui.element("div").classes("talk")

    @property
    def report(self) -> Report | None:
        """What the check of the recipe as it stands found; ``None``: it was not checked since it changed."""
        if self._checked is None or self._checked[0] != self._text():
            return None
        return self._checked[1]

    def changed(self) -> None:
        """Tell that the recipe is no longer the one that was checked."""
        if self._checked is not None and not self._busy:
            same = self._checked[0] == self._text()
            self._note.text = "" if same else t("The recipe has changed since. Check it again.")

    async def check(self) -> Report | None:
        """Check, and show what is found; ``None``: the page was closed, or another check is going on.

        Raises:
            InvalidRecipe: the recipe is not valid.
            LLMasOSError: the check ended because of a defect.
        """
        if self._busy:
            return None
        text, recipe = self._text(), self._recipe()
        self._busy = True
        self._place.clear()
        self._note.text = t("Files, tokens, memory and speed are being looked at.")
        with self._place:
            ui.spinner(size="24px").props("aria-hidden=true")
        report: Report | None = None
        try:
            async with aclosing(check_elsewhere([recipe], self._context.platform.library)) as reports:
                report = await anext(reports)
        finally:
            self._busy = False
            if not self._place.is_deleted:
                self._place.clear()
                self._note.text = ""
        if report is None or self._place.is_deleted:
            return None
        self._checked = (text, report)
        self._show(report)
        self.changed()
        return report

    def _show(self, report: Report) -> None:
        with self._place:
            with ui.element("div").classes("line"):
                if report.valid:
                    parts.pill(t("It can be trained."), "good")
                else:
                    parts.pill(t("{count} problem(s) to solve first", count=len(report.errors)), "bad")
            for level in ("error", "warning", "note"):
                for finding in report.findings:
                    if finding.level == level:
                        _finding(finding)
            with ui.element("div").classes("grid"):
                for title, pairs in sections(report):
                    with ui.element("div").classes("talk"):
                        parts.title_line(3, title)
                        parts.facts(pairs)


def _finding(finding: Finding) -> None:
    names = {"error": t("error"), "warning": t("warning"), "note": t("note")}
    with ui.element("div").classes("line finding"):
        parts.pill(names[finding.level], _TONES[finding.level])
        with ui.element("div").style("flex: 1; min-width: 200px"):
            ui.label(finding.message).style("white-space: pre-wrap")
            if finding.hint:
                ui.label(finding.hint).classes("small soft")
