"""Serving: models in memory and what they do now, keys, and programs that ask the server."""

from __future__ import annotations

import time
from datetime import timedelta

from nicegui import ui

from llmasos import hardware
from llmasos.engine.service import ServiceStats
from llmasos.i18n import t
from llmasos.server.keys import Key, KeyStore
from llmasos.server.serving.service import Loaded
from llmasos.settings import get_settings
from llmasos.studio.components import parts
from llmasos.studio.context import Context
from llmasos.studio.page import Page
from llmasos.studio.talk import clients
from llmasos.units import format_bytes, format_duration

_STATES: dict[str, parts.Tone] = {"valid": "good", "expired": "warn", "revoked": "bad"}


def build(context: Context) -> None:
    """The page."""
    with parts.heading(t("Serving"), t("One server for clients of OpenAI, Anthropic and Ollama.")):
        pass
    _Models(context)
    _Keys(context)
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


class _Keys:
    """Made, shown once, revoked."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = KeyStore(context.platform.library.catalogue.database)
        with ui.element("div").classes("line apart"):
            parts.title_line(2, t("Keys"))
            ui.button(t("New key"), icon="key", on_click=context.handle(self._ask)).props("unelevated no-caps")
        ui.label(t("As soon as one key is valid, every program needs one.")).classes("soft small")
        self._place = ui.element("div").classes("talk")
        self._show()

    def _show(self) -> None:
        self._place.clear()
        with self._place:
            keys = self._store.list()
            if not keys:
                ui.label(t("There are no keys: every program on this machine may ask.")).classes("soft")
            for key in keys:
                self._one(key)

    def _one(self, key: Key) -> None:
        with parts.card(), ui.element("div").classes("line apart"):
            with ui.element("div"):
                parts.title_line(3, key.name)
                used = key.last_used.astimezone().strftime("%Y-%m-%d %H:%M") if key.last_used else t("never")
                ui.label(t("{id} · last used {when}", id=key.id, when=used)).classes("small soft")
            with ui.element("div").classes("line").style("width: auto"):
                names = {"valid": t("valid"), "expired": t("expired"), "revoked": t("revoked")}
                parts.pill(names[key.state], _STATES[key.state])
                if key.state == "valid":
                    ui.button(icon="block", on_click=self._context.handle(lambda: self._revoke(key))).props(
                        f'flat round dense aria-label="{t("Revoke {name}", name=key.name)}"'
                    )

    def _ask(self) -> None:
        with ui.dialog() as dialog, parts.sheet():
            parts.title_line(2, t("New key"))
            name = ui.input(t("Name")).props("outlined dense autofocus")
            days = ui.number(t("Days it is valid; empty: for ever"), min=1, step=1).props("outlined dense")
            limit = ui.number(t("Requests in a minute; empty: any"), min=1, step=1).props("outlined dense")

            def make() -> None:
                _, secret = self._store.create(
                    name.value or "", lifetime=timedelta(days=days.value) if days.value else None,
                    requests_per_minute=int(limit.value) if limit.value else None,
                )  # fmt: skip
                dialog.close()
                self._show()
                self._tell(secret)

            with ui.element("div").classes("line"):
                ui.button(t("Make"), on_click=self._context.handle(make)).props("unelevated no-caps")
                ui.button(t("Cancel"), on_click=dialog.close).props("flat no-caps")
        dialog.open()

    def _tell(self, secret: str) -> None:
        with ui.dialog().props("persistent") as dialog, parts.sheet():
            parts.title_line(2, t("Keep it: it is not shown again."))
            ui.label(secret).classes("mono secret")
            with ui.element("div").classes("line"):
                ui.button(t("Copy"), icon="content_copy", on_click=lambda: ui.clipboard.write(secret)).props(
                    "unelevated no-caps"
                )
                ui.button(t("Close"), on_click=dialog.close).props("flat no-caps")
        dialog.open()

    def _revoke(self, key: Key) -> None:
        with ui.dialog() as dialog, parts.sheet():
            parts.title_line(2, t("Revoke {name}?", name=key.name))
            ui.label(t("Programs that use it are refused within five seconds. This cannot be undone."))

            def revoke() -> None:
                dialog.close()
                self._store.revoke(key.id)
                self._show()

            with ui.element("div").classes("line"):
                ui.button(t("Revoke"), color="negative", on_click=self._context.handle(revoke)).props(
                    "unelevated no-caps"
                )
                ui.button(t("Cancel"), on_click=dialog.close).props("flat no-caps")
        dialog.open()


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
