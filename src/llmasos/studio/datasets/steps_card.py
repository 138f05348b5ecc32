"""The steps of a recipe in short, with what each did to the first rows; added, moved and taken away here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from llmasos.data.pipeline.account import StepAccount
from llmasos.data.report.names import reason_text
from llmasos.errors import InvalidRequest
from llmasos.i18n import t
from llmasos.recipe.document import parse
from llmasos.studio.components import parts
from llmasos.studio.components.labelled import labelled
from llmasos.studio.context import Context
from llmasos.studio.datasets.step_list import choose_step
from llmasos.studio.recipes.editor import RecipeEditor


class StepsCard:
    """Built into the element that is open; :attr:`editor` must be set before it is shown."""

    editor: RecipeEditor

    def __init__(self, context: Context) -> None:
        self._context = context
        self._place = ui.element("div").classes("w-full")
        button = ui.button(
            t("Add a step"), icon="add", on_click=context.handle(lambda: choose_step(context, self._add))
        )
        button.props("flat no-caps")

    def show(self, accounts: Sequence[StepAccount] = ()) -> None:
        """Show the steps that are written, with what they did if it is known."""
        try:
            steps = self._steps()
        except InvalidRequest:
            return  # the editor tells what is wrong
        found = _matched(steps, accounts)
        self._place.clear()
        with self._place:
            if not steps:
                ui.label(t("There are no steps: the rows stay as they are.")).classes("soft")
            for number, step in enumerate(steps):
                self._line(number, str(step.get("step", "?")) if isinstance(step, dict) else str(step), len(steps),
                           found[number])  # fmt: skip

    def _line(self, number: int, name: str, count: int, account: StepAccount | None) -> None:
        with ui.element("div").classes("line apart listed"):
            ui.label(f"{number + 1}. {name}").classes("mono named")
            if account is not None:
                with ui.element("div").classes("line").style("width: auto; gap: 6px"):
                    _effect(account)
            with ui.element("div").classes("line").style("width: auto; gap: 0"):
                self._button("arrow_upward", t("Earlier: {name}", name=name), number > 0, number, number - 1)
                self._button("arrow_downward", t("Later: {name}", name=name), number < count - 1, number, number + 1)
                self._button("close", t("Remove {name}", name=name), True, number, None)

    def _button(self, icon: str, name: str, enabled: bool, number: int, place: int | None) -> None:
        button = ui.button(icon=icon, on_click=self._context.handle(lambda: self._move(number, place)))
        labelled(button.props("flat round dense size=sm"), name).set_enabled(enabled)

    def _steps(self) -> list[Any]:
        steps = parse(self.editor.text, "YAML").values.get("steps") or []
        if not isinstance(steps, list):
            raise InvalidRequest(t("steps is no list"), hint=t("Mend the YAML first."))
        return list(steps)

    def _add(self, step: str) -> None:
        steps = self._steps()
        self.editor.put({f"steps.{len(steps)}": {"step": step}} if steps else {"steps": [{"step": step}]})
        ui.notify(t("{name} is the last step now.", name=step))

    def _move(self, number: int, place: int | None) -> None:
        """Move a step, or take it away."""
        steps = self._steps()
        step = steps.pop(number)
        if place is not None:
            steps.insert(place, step)
        self.editor.put({"steps": steps or None})


def _effect(account: StepAccount) -> None:
    if account.changed:
        parts.pill(t("{count} rows changed", count=f"{account.changed:,}"), "alive")
    for reason, count in sorted(account.rejected.items(), key=lambda item: -item[1]):
        parts.pill(f"{reason_text(reason)}: {count:,}", "bad")
    if not account.changed and not account.rejected:
        parts.pill(t("nothing to do"))


def _matched(steps: Sequence[Any], accounts: Sequence[StepAccount]) -> list[StepAccount | None]:
    """The account of each step; a preparation adds steps of its own between them."""
    left = list(accounts)
    found: list[StepAccount | None] = []
    for step in steps:
        name = step.get("step") if isinstance(step, dict) else None
        place = next((number for number, account in enumerate(left) if account.name == name), None)
        found.append(left[place] if place is not None else None)
        if place is not None:
            del left[: place + 1]
    return found
