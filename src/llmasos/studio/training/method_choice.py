"""How a model is trained: every weight, some, or new ones beside them; with the memory that each way takes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from nicegui import ui

from llmasos.errors import LLMasOSError
from llmasos.i18n import t
from llmasos.studio.context import Context
from llmasos.studio.recipes.shape import Kinds, shape_of
from llmasos.training.methods.defaults import DEFAULTS, METHODS
from llmasos.training.preflight.elsewhere import check_elsewhere
from llmasos.training.preflight.report import Report
from llmasos.training.recipe.kinds import KINDS, TrainingRecipe
from llmasos.units import format_bytes

_PATIENCE = 1.0
"""Seconds without a change before memory is estimated."""


@dataclass
class _Shown:
    button: ui.element
    memory: ui.label


class MethodChoice:
    """Built into the element that is open.

    Args:
        changed: called with the name of a method when a person chooses it.
        recipe: the recipe with a method, for the estimates; raises where it is not valid yet.
    """

    def __init__(
        self, context: Context, kind: str, changed: Callable[[str], None], recipe: Callable[[str], TrainingRecipe]
    ) -> None:
        self._context, self._kind, self._recipe = context, kind, recipe
        self._methods = [method for method in METHODS if kind in DEFAULTS[method]]
        self._estimated = ""
        self._task: asyncio.Task[None] | None = None
        self._timer: ui.timer | None = None
        methods = shape_of(KINDS[kind]).fields["method"]
        assert isinstance(methods, Kinds)
        self._shown: dict[str, _Shown] = {}
        self._place = ui.element("div").classes("choices")
        with self._place:
            for method in self._methods:
                with ui.element("button").classes("choice").props("type=button aria-pressed=false") as button:
                    ui.label(method).classes("h3")
                    ui.label(methods.members[method].help).classes("small soft")
                    rate = DEFAULTS[method][kind].learning_rate
                    with ui.element("div").classes("line"):
                        ui.label(t("learning rate {rate}", rate=f"{rate:g}")).classes("small soft number")
                        memory = ui.label("").classes("small number memory")
                button.on("click", context.handle(lambda method=method: changed(method)))
                self._shown[method] = _Shown(button, memory)
        ui.context.client.on_disconnect(self.close)

    def follow(self, method: str | None, *, scratch: bool) -> None:
        """Show the method of the recipe; a new model is trained whole.

        Args:
            scratch: whether the model has random weights.
        """
        for name, shown in self._shown.items():
            shown.button.props(f"aria-pressed={'true' if name == method else 'false'}")
            shown.button.set_visibility(not scratch or name == "full")

    def estimate(self, text: str) -> None:
        """Find out what each method takes, as soon as nothing has changed for a moment.

        Args:
            text: the recipe without its method; nothing is done if it was estimated already.
        """
        if text == self._estimated:
            return
        self.close()
        self._estimated = text
        for shown in self._shown.values():
            shown.memory.text = ""
        with self._place:
            self._timer = ui.timer(_PATIENCE, self._context.handle(self._begin), once=True)

    def close(self) -> None:
        """End what is going on; :meth:`estimate` begins it again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._estimated = ""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            self._estimated = ""
        self._task = None

    def _begin(self) -> None:
        self._timer = None
        self._task = asyncio.create_task(self._work())

    async def _work(self) -> None:
        visible = [method for method in self._methods if self._shown[method].button.visible]
        try:
            recipes = [self._recipe(method) for method in visible]
        except LLMasOSError:  # the editor tells
            return
        for method in visible:
            self._shown[method].memory.text = "…"
        reports = check_elsewhere(recipes, self._context.platform.library, patient=True)
        with contextlib.suppress(LLMasOSError):  # then there are no figures; the check before the start tells why
            async with contextlib.aclosing(reports):
                async for report in reports:
                    if self._place.is_deleted:
                        return
                    self._tell(visible.pop(0), report)
        for method in visible:
            self._shown[method].memory.text = ""

    def _tell(self, method: str, report: Report) -> None:
        label = self._shown[method].memory
        if report.memory is not None:
            label.text = t("memory {size}", size=format_bytes(report.memory.total))
            fits = report.memory.total <= report.memory.available
            label.classes(replace="small number memory" if fits else "small number memory wrong")
            return
        wrong = next((finding for finding in report.errors if finding.about == "method"), None)
        label.text = t("not for this model") if wrong is not None else ""
