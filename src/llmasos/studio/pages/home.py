"""The first page: what to do first, what is going on, what the machine has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from nicegui import ui

from llmasos import hardware
from llmasos.i18n import t
from llmasos.runs.run import Run
from llmasos.settings import get_settings
from llmasos.studio import address, first_steps
from llmasos.studio.components import parts
from llmasos.studio.components.later import later
from llmasos.studio.components.run_line import no_runs, run_line
from llmasos.studio.components.transfer_line import TransferLine
from llmasos.studio.context import Context
from llmasos.studio.opening import ended
from llmasos.studio.page import Page
from llmasos.units import format_bytes

_RECENT = 5
_REFRESH = 2.0
_Found = TypeVar("_Found")


def build(context: Context) -> None:
    """The page."""
    library = context.platform.library
    model = get_settings().default_model
    with parts.heading(t("Welcome"), t("From a language model to an application, on this machine.")):
        pass
    with ui.element("div").classes("grid steps"):
        _Step(
            context, "forum", t("Talk to a model"), t("Ask, listen, compare; with every setting at hand."), t("Talk"),
            lambda: model, lambda: address.playground(model),
        )  # fmt: skip
        _Step(
            context, "school", t("Teach a model"),
            t("220 messages of customers, four topics: a model learns to sort them, in about a minute."),
            t("Fine-tune on the sample data"), first_steps.sample_model,
            lambda: _run(first_steps.fine_tune(library)),
        )  # fmt: skip
        _Step(
            context, "fact_check", t("Examine a model"),
            t("A few questions of three tasks, every answer on record, scores with intervals."), t("Evaluate"),
            lambda: model, lambda: _run(first_steps.evaluate(library, model)),
        )  # fmt: skip
    parts.title_line(2, t("Recent runs"))
    _Refreshed(
        context, lambda: context.platform.queue.store.all()[:_RECENT], lambda runs: _recent(context, runs),
        key=lambda runs: [(run.id, run.state) for run in runs],
    )  # fmt: skip
    parts.title_line(2, t("Models in service"))
    _Refreshed(context, lambda: [(item.name, item.bytes) for item in context.platform.service.loaded()], _in_service)
    parts.title_line(2, t("This machine"))
    with parts.card():
        later(context, lambda: _machine(context), parts.facts)


def _run(run: Run) -> str:
    return address.run(run.id)


class _Step:
    """A thing to do first: what it is, and the button that does it.

    Args:
        needed: the model it needs, which is downloaded first if it is not here.
        begin: begins it, and gives the address at which it is seen.
    """

    def __init__(
        self, context: Context, icon: str, title: str, explanation: str, action: str,
        needed: Callable[[], str | None], begin: Callable[[], str],
    ) -> None:  # fmt: skip
        self._context, self._needed, self._begin = context, needed, begin
        with parts.card():
            ui.icon(icon, size="28px").props("aria-hidden=true").style("color: var(--accent)")
            parts.title_line(2, title)
            ui.label(explanation).classes("small soft").style("flex: 1")
            self._place = ui.element("div").classes("talk").props("aria-live=polite")
            self._button = ui.button(action, on_click=context.handle(self._do)).props("unelevated no-caps")

    async def _do(self) -> None:
        self._button.disable()
        try:
            await self._fetch(await asyncio.to_thread(self._needed))
            target = await asyncio.to_thread(self._begin)
        finally:
            if not self._place.is_deleted:
                self._place.clear()
                self._button.enable()
        if not self._place.is_deleted:  # whoever has left the page meanwhile is not called back
            ui.navigate.to(target)

    async def _fetch(self, model: str | None) -> None:
        """Download a model that is not here; the step goes on when it has come, whether somebody looks or not."""
        transfers = self._context.platform.transfers
        if model is None or first_steps.is_here(self._context.platform.library, model):
            return
        transfer = transfers.of(model)
        if transfer is None or transfer.outcome != "running":
            transfer = transfers.start(model)
        if not self._place.is_deleted:
            with self._place:
                ui.label(t("First {name} is downloaded.", name=model)).classes("small soft")
                TransferLine(self._context, transfer, t("Download of {name}", name=model), lambda _: None)
        await ended(transfer)
        self._context.platform.service.names.forget()


class _Refreshed:
    """A part of the page that is built anew when what it shows has changed.

    Args:
        key: tells what has to be shown anew; a running run's heartbeat need not, which would take the focus away.
    """

    def __init__(
        self, context: Context, find: Callable[[], _Found], show: Callable[[_Found], None],
        key: Callable[[_Found], object] = lambda found: found,
    ) -> None:  # fmt: skip
        place = ui.element("div").classes("talk")
        shown: list[object] = []

        def look() -> None:
            found = find()
            if shown != [key(found)]:
                shown[:] = [key(found)]
                place.clear()
                with place:
                    show(found)

        look()
        ui.timer(_REFRESH, context.handle(look))


def _recent(context: Context, runs: list[Run]) -> None:
    if not runs:
        no_runs()
    for run in runs:
        run_line(context, run)


def _in_service(models: list[tuple[str, int]]) -> None:
    if not models:
        ui.label(t("None is loaded. The first question loads its model.")).classes("soft")
    with ui.element("div").classes("grid"):
        for name, size in models:
            with parts.card():
                parts.title_line(3, name)
                with ui.element("div").classes("line"):
                    parts.pill(t("in service"), "alive")
                    parts.pill(format_bytes(size))


def _machine(context: Context) -> list[tuple[str, object]]:
    """What it has; asking the drivers of GPUs takes a moment."""
    processor, memory = hardware.processor(), hardware.memory()
    disk = hardware.disk(context.platform.library.home)
    cards = [f"{card.name} ({format_bytes(card.memory_total)})" for card in hardware.gpus()]
    return [
        (t("Processor"), processor.model),
        (t("Cores"), processor.usable),
        (
            t("Memory"),
            t("{free} of {total} free", free=format_bytes(memory.available), total=format_bytes(memory.total)),
        ),
        (t("GPU"), ", ".join(cards) or t("none; everything runs on the processor")),
        (t("Disk"), t("{free} of {total} free", free=format_bytes(disk.free), total=format_bytes(disk.total))),
    ]


PAGE = Page("/", lambda: t("Home"), "home", build)
