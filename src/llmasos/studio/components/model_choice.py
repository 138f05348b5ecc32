"""Choosing a model that continues texts, and an adapter for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import ui

from llmasos.errors import NotFound
from llmasos.i18n import t
from llmasos.server.serving.names import Listed
from llmasos.studio.context import Context

NOBODY = ""


def causal_models(context: Context, *, upstream: bool = True) -> list[str]:
    """Names of the models that continue texts; other servers' too if ``upstream``."""
    return [
        item.name
        for item in context.platform.service.names.listing()
        if (item.kind == "upstream" and upstream) or (item.kind == "model" and _continues(item))
    ]


def adapters_of(context: Context, model: str) -> list[Listed]:
    """Adapters that were made for a model, or that do not say for which."""
    names = context.platform.service.names
    try:
        key = names.find(model).key
    except NotFound:  # removed since the page was built; whoever uses it is told so
        return []
    return [
        item
        for item in names.listing()
        if item.kind == "adapter" and item.row is not None and _continues(item) and item.row.base_digest in (None, key)
    ]


def served_name(context: Context, model: str, adapter: str) -> str:
    """The name under which the APIs know a model with an adapter."""
    row = next((item.row for item in adapters_of(context, model) if item.name == adapter), None)
    # By its own name an adapter that the engine cannot mix in is served too: as a model with changed weights.
    return adapter if row is not None and row.base_digest is not None else f"{model}+{adapter}"


def apart(context: Context, name: str) -> tuple[str, str]:
    """Model and adapter of a served name; the adapter is :data:`NOBODY` where there is none."""
    models = causal_models(context)
    if name in models:
        return name, NOBODY
    model, plus, adapter = name.rpartition("+")
    if plus:
        return model, adapter
    for model in models:
        if any(item.name == name and item.row and item.row.base_digest for item in adapters_of(context, model)):
            return model, name
    return name, NOBODY


class ModelChoice:
    """Two lists beside each other: models, and the adapters of the chosen one where there are any.

    Args:
        label: of the list of models.
        name: what is chosen at first, as the APIs know it.
        nobody: an entry that stands for no model.
        changed: called when another model or adapter is chosen.
    """

    def __init__(
        self, context: Context, models: list[str], label: str, *, name: str, nobody: str | None = None,
        changed: Callable[[], Any] | None = None,
    ) -> None:  # fmt: skip
        self._context, self._changed = context, changed
        options = ({NOBODY: nobody} if nobody else {}) | {model: model for model in models}
        self._model = ui.select(options, label=label).props("outlined dense").style("min-width: 220px")
        self._adapter = ui.select({NOBODY: t("no adapter")}, value=NOBODY, label=t("Adapter"))
        self._adapter.props("outlined dense").style("min-width: 160px")
        self.choose(name)
        self._model.on_value_change(context.handle(self._choose_model))
        self._adapter.on_value_change(context.handle(self._tell))

    @property
    def name(self) -> str:
        """As the APIs know it; :data:`NOBODY` if no model is chosen."""
        model, adapter = self._model.value or NOBODY, self._adapter.value or NOBODY
        return served_name(self._context, model, adapter) if model and adapter else model

    def choose(self, name: str) -> bool:
        """Choose by the name that the APIs know; whether there is such a model here."""
        model, adapter = apart(self._context, name) if name else (NOBODY, NOBODY)
        if model not in self._model.options:
            return False
        self._model.value = model
        self._offer_adapters()
        if adapter in self._adapter.options:
            self._adapter.value = adapter
        return adapter in self._adapter.options

    def _choose_model(self) -> Any:
        self._offer_adapters()
        return self._tell()

    def _tell(self) -> Any:
        return self._changed() if self._changed is not None else None

    def _offer_adapters(self) -> None:
        model = self._model.value
        found = adapters_of(self._context, model) if model else []
        options = {NOBODY: t("no adapter"), **{item.name: item.name for item in found}}
        kept = self._adapter.value if self._adapter.value in options else NOBODY
        self._adapter.set_options(options, value=kept)
        self._adapter.set_visibility(bool(found))


def _continues(item: Listed) -> bool:
    return item.row is None or item.row.task_family in (None, "causal")
