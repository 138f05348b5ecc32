"""Which model is trained: one of the library that fits, or a new one of a preset size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import ui

from llmasos.i18n import t
from llmasos.library.store import Library
from llmasos.studio import address
from llmasos.studio.context import Context
from llmasos.studio.training import goals
from llmasos.training.presets.shape import shape_of
from llmasos.training.recipe.models import PresetModel
from llmasos.units import format_count

_PRESET = "preset/"
_VOCABULARY = 8192
"""Entries for which the parameters of presets are counted: the default of new tokenizers."""


def first_model(library: Library, kind: str, wanted: str | None = None) -> Any:
    """The value of a recipe's ``model`` to begin with; ``None``: nothing fits."""
    fitting = goals.fitting_models(library, kind)
    if any(wanted in row.names for row in fitting):
        return wanted
    presets = goals.fitting_presets(kind)
    if kind != "pretrain" and fitting:
        return fitting[0].names[0]
    return {"preset": presets[0].name} if presets else None


class ModelChoice:
    """Built into the element that is open.

    Args:
        changed: called with the value of the recipe's ``model`` when a person chooses.
    """

    def __init__(self, context: Context, kind: str, changed: Callable[[Any], None]) -> None:
        self._changed = changed
        self._options: dict[str, str] = {}
        for row in goals.fitting_models(context.platform.library, kind):
            size = f" · {format_count(row.parameters)}" if row.parameters else ""
            self._options[row.names[0]] = f"{row.names[0]}{size}"
        here = len(self._options)
        for preset in goals.fitting_presets(kind):
            weights = shape_of(PresetModel(preset=preset.name)).weights(_VOCABULARY)
            self._options[_PRESET + preset.name] = t(
                "new: {name} · {count}", name=preset.name, count=format_count(weights)
            )
        self._select = ui.select(self._options, label=t("Model")).props("outlined dense").classes("w-full")
        self._select.on_value_change(context.handle(self._chosen))
        if not here and kind != "pretrain":
            ui.label(
                t("There is no model here yet that fits; a new one of these sizes knows nothing at first.")
            ).classes("small soft")
        ui.link(t("More models can be downloaded."), address.models()).classes("small")

    def follow(self, model: Any) -> None:
        """Show what the recipe says, expanded."""
        value: str | None = None
        if isinstance(model, dict):
            value = f"{_PRESET}{model.get('preset')}" if model.get("start") == "preset" else model.get("reference")
        if value is not None and value not in self._options:
            self._options[value] = value.removeprefix(_PRESET)
            self._select.set_options(self._options)
        self._shown = value
        self._select.value = value

    def _chosen(self) -> None:
        value = self._select.value
        if value is None or value == self._shown:
            return
        self._shown = value
        self._changed({"preset": value.removeprefix(_PRESET)} if value.startswith(_PRESET) else value)
