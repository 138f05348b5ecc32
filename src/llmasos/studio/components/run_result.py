"""What can be done with the result of a run that succeeded."""

from __future__ import annotations

from nicegui import ui

from llmasos.i18n import t
from llmasos.runs.run import Run
from llmasos.runs.states import State
from llmasos.studio import address
from llmasos.studio.components.try_classifier import can_try
from llmasos.studio.context import Context


def result_links(context: Context, run: Run) -> None:
    """Links to the model, the data set or the evaluation that a run made; built into the element that is open."""
    name = run.result.get("name") or run.result.get("digest")
    library = context.platform.library
    if run.state is not State.SUCCEEDED or not isinstance(name, str) or not library.has(name):
        return
    if run.kind == "data":
        _link(t("Look at the data"), "dataset", address.data_look(name))
        _link(t("Train on this"), "model_training", address.train_on(name))
        return
    metadata = library.resolve(name).metadata
    if metadata.task_family == "causal":
        _link(t("Talk to it"), "forum", address.playground(name))
    elif can_try(metadata.task_family):
        _link(t("Try it"), "science", address.model(name) + "#try")
    _link(t("The model's page"), "view_in_ar", address.model(name))
    if metadata.task_family in ("causal", "seq2seq", "classifier"):
        _link(t("Evaluate it"), "bar_chart", address.evaluate(name))


def _link(title: str, icon: str, target: str) -> None:
    ui.button(title, icon=icon, on_click=lambda: ui.navigate.to(target)).props("flat no-caps")
