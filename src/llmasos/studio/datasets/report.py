"""The report of a preparation, in the look of the Studio.

The HTML is that of :mod:`llmasos.data.report`, which escapes every text and has no script; its own style sheet is not
used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from llmasos.data.output.publish import REPORT_PATH
from llmasos.data.report import page
from llmasos.data.report.estimate import estimate_training
from llmasos.data.report.facts import measured_facts, step_facts
from llmasos.data.report.step_details import step_details
from llmasos.data.report.write import read_facts
from llmasos.data.trial import Trial
from llmasos.errors import LLMasOSError
from llmasos.i18n import t
from llmasos.library.store import Library
from llmasos.studio.components import parts
from llmasos.studio.context import Context
from llmasos.studio.datasets.reading import reading


def has_report(library: Library, reference: str) -> bool:
    """Whether data are a data set that was prepared here."""
    return library.has(reference) and REPORT_PATH in library.resolve(reference).manifest.files


def show_report(context: Context, reference: str) -> None:
    """The report of a data set of the library, by name or digest; nothing if it has none. Filled after the page is."""
    place = ui.element("div").classes("report")

    async def fill() -> None:
        library = context.platform.library
        try:
            facts = await reading(lambda: read_facts(library, library.resolve(reference)))
        except LLMasOSError:
            return
        estimate = await reading(estimate_training, facts, library)
        if not place.is_deleted:
            with place:
                parts.title_line(2, t("Report"))
                _html(page.body(facts, estimate))

    ui.timer(0.05, context.handle(fill), once=True)


def show_statistics(statistics: Mapping[str, Any], rows: int) -> None:
    """Lengths, classes and languages of rows."""
    facts = {**measured_facts(statistics), "tokens": None, "splits": {}, "totals": {"kept": rows}}
    with ui.element("div").classes("report inner"):
        _html(page.lengths(facts) + page.content(facts))


def show_trial(trial: Trial) -> None:
    """What the steps of a recipe did to the first rows."""
    facts = {"steps": [step_facts(account) for account in trial.accounts]}
    with ui.element("div").classes("report inner"):
        _html(page.warnings(trial.warnings) + page.steps(facts) + step_details(facts))


def _html(content: str) -> None:
    ui.html(content, sanitize=False)  # escaped where it is made
