"""One finished evaluation: scores with intervals, its samples, the report, and files to keep."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from nicegui import ui

from llmasos.errors import NotFound
from llmasos.evaluation.finished import Finished
from llmasos.evaluation.records import Status
from llmasos.evaluation.reports.rows import figure, interval
from llmasos.evaluation.reports.samples import status_name
from llmasos.evaluation.result import Evaluation
from llmasos.i18n import t
from llmasos.studio import address
from llmasos.studio.components import parts
from llmasos.studio.context import Context
from llmasos.studio.evaluation import intervals
from llmasos.studio.evaluation.sample_browser import SampleBrowser
from llmasos.studio.evaluation.sections import STATUS_TONES, is_made_up, percent, section_links
from llmasos.studio.page import Page
from llmasos.units import format_duration

_DOWNLOADS = (
    ("HTML", "report.html?download=1"), ("JSON", "evaluation.json"), ("CSV", "scores.csv"), ("Markdown", "report.md"),
    ("Parquet", "samples.parquet"),
)  # fmt: skip


def build(context: Context, key: str) -> None:
    """The page of the evaluation ``key``."""
    page = ui.element("div").classes("talk")

    async def fill() -> None:
        try:
            found = await asyncio.to_thread(context.platform.evaluations.get, key)
        except NotFound as error:
            with page, parts.empty("search_off", error.message, error.hint or ""):
                ui.link(t("To the leaderboard"), address.leaderboard())
            return
        statuses = await asyncio.to_thread(lambda: found.samples().statuses())
        if not page.is_deleted:
            with page:
                _evaluation(context, found, statuses)

    ui.timer(0, context.handle(fill), once=True)


def _evaluation(context: Context, found: Finished, statuses: Sequence[Status]) -> None:
    evaluation = found.evaluation
    with parts.heading(evaluation.task, evaluation.model):
        ui.button(t("Compare"), icon="compare_arrows",
                  on_click=lambda: ui.navigate.to(address.comparison(found.key))).props("flat no-caps")  # fmt: skip
    section_links("")
    with parts.card():
        _scores(evaluation)
        _counts(evaluation)
        for note in evaluation.notes:
            ui.label(note).classes("small soft")
        with ui.element("div").classes("line"):
            ui.label(t("Download")).classes("small soft")
            for name, file in _DOWNLOADS:
                target = f"{address.ROOT}{address.evaluation_file(found.key, file)}"
                link = ui.link(name, target)
                link.props("download")
                link.props["aria-label"] = t("Download {name}", name=name)
    with ui.tabs().props("align=left dense") as tabs:
        samples = ui.tab("samples", t("Samples"))
        report = ui.tab("report", t("Report"))
        made = ui.tab("made", t("How it was made"))
    with ui.tab_panels(tabs, value=samples).classes("w-full").style("background: transparent"):
        with ui.tab_panel(samples):
            SampleBrowser(context, found.samples(), list(statuses))
        with ui.tab_panel(report):
            _report(context, found)
        with ui.tab_panel(made), parts.card():
            _how(evaluation)


def _scores(evaluation: Evaluation) -> None:
    if not evaluation.scores:
        ui.label(t("There is no score: every sample failed.")).style("color: var(--bad)")
    for metric, entry in evaluation.scores.items():
        with ui.element("div").classes("ranked"):
            with ui.element("div"):
                ui.label(metric)
                if not entry.higher_is_better:
                    ui.label(t("less is better")).classes("small soft")
            intervals.draw(entry, intervals.scale_of([entry]))
            with ui.element("div").classes("number"):
                ui.label(f"{figure(entry.value)} {interval(entry)}")
                if entry.samples is not None and entry.samples != evaluation.samples:
                    ui.label(t("{count} samples", count=f"{entry.samples:,}")).classes("small soft")


def _counts(evaluation: Evaluation) -> None:
    """How many samples got which verdict."""
    with ui.element("div").classes("line"):
        ui.label(t("{count} samples", count=f"{evaluation.samples:,}")).classes("soft")
        for status in Status:
            count = evaluation.counts.get(status.value, 0)
            if count:
                share = percent(count / evaluation.samples)
                parts.pill(f"{status_name(status)} {count:,} · {share}", STATUS_TONES[status])
        if is_made_up(evaluation):
            parts.pill(t("made-up rows"), "warn")


def _report(context: Context, found: Finished) -> None:
    """The report in a frame that runs nothing, in the colours of the page."""
    theme = context.preferences.theme
    target = f"{address.ROOT}{address.evaluation_file(found.key, 'report.html')}?scheme={theme}"
    frame = ui.element("iframe").classes("report-frame").props('sandbox="" loading=lazy')
    frame.props["src"] = target
    frame.props["title"] = t("Report of {task}", task=found.evaluation.task)


def _how(evaluation: Evaluation) -> None:
    parts.facts([
        (t("Model"), evaluation.model), (t("Digest of the model"), evaluation.model_digest or t("not in the library")),
        (t("Task"), f"{evaluation.task}, {t('version')} {evaluation.task_version}"),
        (t("Digest of the task"), evaluation.task_digest), (t("Digest of the samples"), evaluation.data_digest),
        (t("Licence of the data"), evaluation.license or t("unknown")),
        *((name, str(value)) for name, value in evaluation.settings.items()),
        *((t("How {metric} was computed", metric=metric), "; ".join(filter(None, (entry.signature, entry.interval))))
          for metric, entry in evaluation.scores.items()),
        (t("Time"), format_duration(evaluation.seconds)), (t("Finished"), evaluation.created),
        *evaluation.versions.items(),
    ])  # fmt: skip


PAGE = Page("/evaluate/results/{key}", lambda: t("Evaluation"), "leaderboard", build, section="/evaluate")
