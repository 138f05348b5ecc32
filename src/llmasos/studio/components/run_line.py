"""A run in one line."""

from __future__ import annotations

from datetime import UTC, datetime

from nicegui import ui

from llmasos.i18n import t
from llmasos.runs.queue import state_text
from llmasos.runs.run import Run
from llmasos.runs.states import State
from llmasos.studio import address
from llmasos.studio.components import parts
from llmasos.studio.context import Context
from llmasos.units import format_duration

TONES: dict[State, parts.Tone] = {
    State.QUEUED: "plain", State.RUNNING: "alive", State.SUCCEEDED: "good", State.FAILED: "bad",
    State.CANCELLED: "warn", State.LOST: "bad",
}  # fmt: skip


def run_line(context: Context, run: Run) -> None:
    """The run's name, state and duration, which lead to its page."""
    with parts.card_link(address.run(run.id)), ui.element("div").classes("line apart"):
        with ui.element("div"):
            parts.title_line(3, run.name or run.id)
            ui.label(run.id).classes("small soft mono")
        with ui.element("div").classes("line").style("width: auto"):
            parts.pill(run.kind)
            parts.pill(state_text(run.state), TONES[run.state])
            seconds = run.seconds(datetime.now(UTC))
            if seconds is not None:
                ui.label(format_duration(seconds)).classes("small soft number")


def no_runs() -> None:
    """What stands where there are no runs."""
    with parts.empty("insights", t("There are no runs yet."), t("`llmasos train RECIPE --background` starts one.")):
        pass
