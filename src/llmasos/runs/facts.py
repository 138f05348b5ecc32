"""What people are told of a run: the commands and the Studio say the same."""

from __future__ import annotations

from datetime import datetime

from llmasos.i18n import t
from llmasos.runs.digest import Digest
from llmasos.runs.run import Run
from llmasos.runs.states import State
from llmasos.units import format_bytes, format_count, format_duration


def progress_pairs(digest: Digest, run: Run, now: datetime) -> list[tuple[str, object]]:
    """Where a run stands, as names and values for people."""
    pairs: list[tuple[str, object]] = []
    task = digest.task
    if task is not None and task.total:
        done = f"{task.completed or 0:,.0f} / {task.total:,.0f} {task.unit or ''}".rstrip()
        left = digest.seconds_left(now.timestamp()) if run.state is State.RUNNING else None
        parts = [f"{digest.share or 0:.0%}", done]
        if left is not None:
            parts.append(t("{time} left", time=format_duration(left)))
        pairs.append((t("Progress"), " · ".join(parts)))
    pairs += [(t("Loss"), text) for text in [_losses(digest)] if text]
    if (speed := digest.measure("tokens_per_second")) is not None:
        pairs.append((t("Speed"), f"{speed:,.0f} tokens/s"))
    if (mfu := digest.measure("mfu")) is not None:
        pairs.append((t("MFU"), f"{mfu:.1%}"))
    if (memory := digest.measure("memory_bytes")) is not None:
        pairs.append((t("Memory"), format_bytes(memory)))
    if (tokens := digest.measure("tokens")) is not None:
        pairs.append((t("Tokens"), format_count(tokens)))
    return pairs


def _losses(digest: Digest) -> str:
    parts = []
    if (loss := digest.measure("loss")) is not None:
        parts.append(t("training {loss}", loss=f"{loss:.4f}"))
    if (loss := digest.measure("eval_loss")) is not None:
        parts.append(t("validation {loss}", loss=f"{loss:.4f}"))
    if digest.best is not None:
        parts.append(t("best {loss} at step {step}", loss=f"{digest.best[0]:.4f}", step=digest.best[1]))
    return ", ".join(parts)


def result_pairs(run: Run) -> list[tuple[str, object]]:
    """What a run that succeeded made, as names and values for people."""
    if run.state is not State.SUCCEEDED:
        return []
    pairs: list[tuple[str, object]] = []
    if name := run.result.get("name") or run.result.get("digest"):
        pairs.append((t("Result"), name))
    before, after = run.result.get("before"), run.result.get("after")
    if isinstance(after, dict) and isinstance(before, dict):
        for measure, value in after.items():
            old = before.get(measure)
            text = f"{old:.4f} → {value:.4f}" if isinstance(old, int | float) else f"{value:.4f}"
            pairs.append((measure, text))
    for task in run.result.get("tasks", ()):  # of an evaluation
        pairs += [(f"{task['task']} {measure}", f"{value:.4f}") for measure, value in task["scores"].items()]
    return pairs
