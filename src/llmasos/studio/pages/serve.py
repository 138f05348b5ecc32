"""Serving: models in memory and what they do now, keys, and programs that ask the server."""

from __future__ import annotations

import time

from nicegui import ui

from llmasos import hardware
from llmasos.engine.service import ServiceStats
from llmasos.i18n import t
from llmasos.server.serving.service import Loaded
from llmasos.settings import get_settings
from llmasos.studio.components import parts
from llmasos.studio.components.keys import Keys
from llmasos.studio.context import Context
from llmasos.studio.page import Page
from llmasos.studio.talk import clients
from llmasos.units import format_bytes, format_duration


def build(context: Context) -> None:
    """The page."""
    with parts.heading(t("Serving"), t("One server for clients of OpenAI, Anthropic and Ollama.")):
        pass
    _Models(context)
    with ui.element("div").classes("line apart"):
        parts.title_line(2, t("Keys"))
        keys_button = ui.element("div")
    Keys(context, keys_button)
    _Programs(context)


class _Models:
    """What is in memory, anew every two seconds."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._before: dict[str, tuple[float, int]] = {}
        parts.title_line(2, t("Models in service"))
        self._place = ui.element("div").classes("grid")
        self._memory = ui.label("").classes("small soft number")
        with ui.element("div").classes("line"):
            names = [item.name for item in context.platform.service.names.listing()]
            chosen = ui.select(names, label=t("Model")).props("outlined dense").style("min-width: 240px")

            async def load() -> None:
                if chosen.value:
                    seconds = await context.platform.service.load(chosen.value)
                    ui.notify(t("{name} is loaded, in {seconds} s.", name=chosen.value, seconds=f"{seconds:.1f}"))
                    self._show()

            ui.button(t("Load"), icon="memory", on_click=context.handle(load)).props("unelevated no-caps")
        self._show()
        ui.timer(2.0, context.handle(self._show))

    def _show(self) -> None:
        service = self._context.platform.service
        loaded = service.loaded()
        used = sum(item.bytes for item in loaded)
        self._memory.text = t(
            "{used} of a budget of {budget} for models; {free} of the machine's memory is free",
            used=format_bytes(used), budget=format_bytes(service.memory_budget),
            free=format_bytes(hardware.memory().available),
        )  # fmt: skip
        self._place.clear()
        with self._place:
            if not loaded:
                ui.label(t("None is loaded. The first question loads its model.")).classes("soft")
            for item in loaded:
                self._one(item)

    def _one(self, item: Loaded) -> None:
        metrics = self._context.platform.service.metrics
        with parts.card():
            with ui.element("div").classes("line apart"):
                parts.title_line(3, item.name)
                ui.button(icon="eject", on_click=self._context.handle(lambda: self._unload(item.name))).props(
                    f'flat round dense aria-label="{t("Unload {name}", name=item.name)}"'
                )
            stats = item.local.engine.stats() if item.local.engine is not None else None
            first = [metrics.first_token_quantile(item.name, share) for share in (0.5, 0.95)]
            parts.facts([
                (t("Memory"), format_bytes(item.bytes)),
                (t("Running"), stats.running if stats else None),
                (t("Waiting"), stats.waiting if stats else None),
                (t("Tokens a second"), f"{self._rate(item.name, stats):,.0f}" if stats else None),
                (t("First token, p50 and p95"), " · ".join(f"{value:.2f} s" for value in first if value is not None)),
                (t("Unloaded"), t("never") if item.expires_in is None
                 else t("in {time} without use", time=format_duration(item.expires_in))),
            ])  # fmt: skip

    def _rate(self, name: str, stats: ServiceStats) -> float:
        """Tokens written in a second since the last look."""
        now = time.monotonic()
        before = self._before.get(name)
        self._before[name] = (now, stats.output_tokens)
        if before is None or now <= before[0]:
            return 0.0
        return (stats.output_tokens - before[1]) / (now - before[0])

    async def _unload(self, name: str) -> None:
        await self._context.platform.service.unload(name)
        self._show()


class _Programs:
    """The same question through each of the APIs."""

    def __init__(self, context: Context) -> None:
        parts.title_line(2, t("Programs"))
        model = next((item.name for item in context.platform.service.loaded()), get_settings().default_model)
        server = context.platform.address or "http://127.0.0.1:8000"
        with parts.card():
            with ui.tabs() as tabs:
                entries = [ui.tab(name) for name, _, _ in clients.PROGRAMS]
            with ui.tab_panels(tabs, value=entries[0]).classes("w-full"):
                for entry, (_, language, text) in zip(entries, clients.PROGRAMS, strict=True):
                    with ui.tab_panel(entry):
                        parts.code(clients.filled(text, server, model), language)


PAGE = Page("/serve", lambda: t("Serving"), "dns", build)
