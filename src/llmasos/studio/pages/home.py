"""The first page: what to do first, what is going on, what the machine has."""

from __future__ import annotations

from nicegui import ui

from llmasos import hardware
from llmasos.i18n import t
from llmasos.settings import get_settings
from llmasos.studio import address
from llmasos.studio.components import parts
from llmasos.studio.components.run_line import no_runs, run_line
from llmasos.studio.context import Context
from llmasos.studio.page import Page
from llmasos.units import format_bytes

_RECENT = 5


def build(context: Context) -> None:
    """The page."""
    with parts.heading(t("Welcome"), t("From a language model to an application, on this machine.")):
        pass
    with ui.element("div").classes("grid"):
        _step("forum", t("Talk to a model"), t("Ask, listen, compare; with every setting at hand."),
              address.playground(get_settings().default_model))  # fmt: skip
        _step("view_in_ar", t("Look at the models"), t("What is on this machine, and what can be had."),
              address.models())  # fmt: skip
        _step("insights", t("Follow the runs"), t("Training, preparation and evaluation, live."), address.runs())
    parts.title_line(2, t("Recent runs"))
    runs = context.platform.queue.store.all()[:_RECENT]
    if not runs:
        no_runs()
    for run in runs:
        run_line(context, run)
    parts.title_line(2, t("Models in service"))
    loaded = context.platform.service.loaded()
    if not loaded:
        ui.label(t("None is loaded. The first question loads its model.")).classes("soft")
    with ui.element("div").classes("grid"):
        for item in loaded:
            with parts.card():
                parts.title_line(3, item.name)
                with ui.element("div").classes("line"):
                    parts.pill(t("in service"), "alive")
                    parts.pill(format_bytes(item.bytes))
    parts.title_line(2, t("This machine"))
    with parts.card():
        processor, memory = hardware.processor(), hardware.memory()
        disk = hardware.disk(context.platform.library.home)
        parts.facts([
            (t("Processor"), processor.model),
            (t("Cores"), processor.usable),
            (t("Memory"), t("{free} of {total} free", free=format_bytes(memory.available),
                            total=format_bytes(memory.total))),
            (t("Disk"), t("{free} of {total} free", free=format_bytes(disk.free), total=format_bytes(disk.total))),
        ])  # fmt: skip


def _step(icon: str, title: str, explanation: str, target: str) -> None:
    with parts.card_link(target):
        ui.icon(icon, size="28px").props("aria-hidden=true").style("color: var(--accent)")
        parts.title_line(2, title)
        ui.label(explanation).classes("small soft")


PAGE = Page("/", lambda: t("Home"), "home", build)
