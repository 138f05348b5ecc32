"""What a person chooses beside model and tasks: whose rows, how many, how they are asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nicegui import ui

from llmasos.errors import NotFound
from llmasos.evaluation.options import RunOptions
from llmasos.evaluation.task import CodeTask
from llmasos.i18n import t
from llmasos.studio.context import Context
from llmasos.studio.datasets.reach import check_paths
from llmasos.studio.evaluation.tasks import Offer

_AS_TASK = ""


class Choices:
    """The controls, in the element that is open.

    Args:
        changed: called when something else is chosen.
    """

    def __init__(self, context: Context, changed: Callable[[], None]) -> None:
        self._context = context
        rows = {
            True: t("The built-in samples: a few made-up rows, at once and without network"),
            False: t("The tasks' own data: fetched once and checked, or from a folder"),
        }
        change = context.handle(changed)
        self._sample = ui.radio(rows, value=True, on_change=change).props(f'dense aria-label="{t("Data")}"')
        self._sample.classes("one-below-the-other")
        with ui.element("div").classes("line") as own:
            self._data = ui.input(t("Folder with the data, if it is not to be fetched")).props("outlined dense")
            self._data.style("min-width: 260px; flex: 1")
            self._unchecked = ui.switch(t("Take files that are not those of the task"))
        own.bind_visibility_from(self._sample, "value", lambda sample: not sample)
        with ui.element("div").classes("line"):
            self._limit = ui.number(t("Samples, at most"), min=1, step=1, precision=0)
            self._few_shot = ui.number(t("Solved examples"), min=0, step=1, precision=0)
            self._max_tokens = ui.number(t("Most tokens"), min=1, step=1, precision=0)
            self._seed = ui.number(t("Seed"), min=0, step=1, precision=0)
            for control in (self._limit, self._few_shot, self._max_tokens, self._seed):
                control.props("outlined dense clearable").style("min-width: 190px; flex: 1")
                control.on_value_change(change)
            chats = {_AS_TASK: t("as the task says"), "auto": t("where it fits"), "on": t("on"), "off": t("off")}
            self._chat = ui.select(chats, value=_AS_TASK, label=t("Chat template")).props("outlined dense")
            self._chat.style("min-width: 190px; flex: 1")
        ui.label(
            t("Samples, examples and tokens are for each task. Empty: as the task says, and all samples.")
        ).classes("small soft")
        self._unsafe = ui.switch(t("Run generated programs without isolation if there is none here"))
        self._unsafe.set_visibility(False)

    def fit(self, chosen: list[Offer]) -> None:
        """Show what the chosen tasks need."""
        programs = any(isinstance(offer.found.task, CodeTask) for offer in chosen)
        self._unsafe.set_visibility(programs and self._context.visitor.is_admin)

    @property
    def options(self) -> RunOptions:
        """As they stand.

        Raises:
            InvalidRequest: a value is not allowed.
        """
        recipe = self.recipe()
        data = recipe.pop("data", None)
        return RunOptions(**recipe, data=None if data is None else Path(data))

    def recipe(self) -> dict[str, Any]:
        """As keys of a recipe; what is not chosen is not there."""
        folder = (self._data.value or "").strip()
        values: dict[str, Any] = {
            "limit": _whole(self._limit.value), "few_shot": _whole(self._few_shot.value),
            "max_tokens": _whole(self._max_tokens.value), "seed": _whole(self._seed.value),
            "chat": self._chat.value or None, "sample": bool(self._sample.value),
            # A browser can set what it does not show.
            "unsafe_code": bool(self._unsafe.value and self._unsafe.visible and self._context.visitor.is_admin),
        }  # fmt: skip
        if not self._sample.value:
            values["data"] = str(Path(folder).expanduser()) if folder else None
            values["unchecked_data"] = bool(self._unchecked.value)
        return {name: value for name, value in values.items() if value is not None and value is not False}

    def checked(self, chosen: list[Offer]) -> dict[str, Any]:
        """As keys of a recipe, after what cannot work or is not allowed was refused.

        Raises:
            Forbidden: a member names a folder of this machine.
            NotFound: a task has no built-in sample, or there is no such folder.
        """
        recipe = self.recipe()
        check_paths(self._context, [recipe["data"]] if "data" in recipe else [])
        lacking = [offer.name for offer in chosen if not offer.has_sample]
        if recipe.get("sample") and lacking:
            raise NotFound(t("the task {task} has no sample", task=lacking[0]), hint=t("Choose the tasks' own data."))
        if "data" in recipe and not Path(recipe["data"]).is_dir():
            raise NotFound(t("there is no folder {path}", path=recipe["data"]), hint=t("Check the path."))
        return recipe


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
