"""What the pages of evaluation have in common: the way from one to the other, and how scores are written."""

from __future__ import annotations

from nicegui import ui

from llmasos.evaluation.records import Status
from llmasos.evaluation.result import Evaluation
from llmasos.i18n import t
from llmasos.studio import address
from llmasos.studio.components import parts

STATUS_TONES: dict[Status, parts.Tone] = {
    Status.CORRECT: "good", Status.WRONG: "bad", Status.UNPARSED: "warn", Status.TRUNCATED: "warn",
    Status.ERROR: "bad", Status.SCORED: "alive",
}  # fmt: skip
_WITHOUT_ANSWER = (Status.UNPARSED, Status.TRUNCATED, Status.ERROR)
_FACT = "model."


def section_links(current: str) -> None:
    """Links to the pages of evaluation, the current one marked.

    Args:
        current: its address.
    """
    entries = [
        (t("Measure"), address.evaluate()), (t("Leaderboard"), address.leaderboard()),
        (t("Comparison"), address.comparison()),
    ]  # fmt: skip
    with ui.element("nav").classes("sections").props(f'aria-label="{t("Evaluation")}"'):
        for title, target in entries:
            link = ui.link(title, target)
            if target == current:
                link.props("aria-current=page")


def share_without_answer(evaluation: Evaluation) -> float:
    """Share of the samples in which no answer could be read, was cut off, or which failed."""
    lost = sum(evaluation.counts.get(status.value, 0) for status in _WITHOUT_ANSWER)
    return lost / evaluation.samples if evaluation.samples else 0.0


def percent(share: float) -> str:
    """A share for people: small ones are not rounded to none."""
    return "< 1 %" if 0 < share < 0.01 else f"{share:.0%}".replace("%", " %")


def is_made_up(evaluation: Evaluation) -> bool:
    """Whether the rows were the few made-up ones of the task, whose scores say nothing."""
    return bool(evaluation.settings.get("sample"))


def settings_text(evaluation: Evaluation) -> str:
    """How it was made, in one line, without how the model was run."""
    names = {
        "limit": t("limit"), "few_shot": t("examples"), "seed": t("seed"), "max_tokens": t("most tokens"),
        "chat": t("chat template"),
    }  # fmt: skip
    told = []
    for name, value in evaluation.settings.items():
        if name.startswith(_FACT) or name in ("sample", "examples"):
            continue
        shown = (t("yes") if value else t("no")) if isinstance(value, bool) else value
        told.append(f"{names.get(name, name)} {shown}")
    return " · ".join(told)


def model_facts(evaluation: Evaluation) -> dict[str, str]:
    """How the model was run."""
    return {name.removeprefix(_FACT): str(value) for name, value in evaluation.settings.items()
            if name.startswith(_FACT)}  # fmt: skip
