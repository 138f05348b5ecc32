"""What the commands of runs write for people, and the same facts for programs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from llmasos.cli.output import Column, Output
from llmasos.i18n import t
from llmasos.runs.digest import Digest
from llmasos.runs.events import EventFile
from llmasos.runs.facts import progress_pairs, result_pairs
from llmasos.runs.queue import state_text
from llmasos.runs.run import Run
from llmasos.runs.states import ACTIVE, State
from llmasos.runs.store import EVENTS, RunStore
from llmasos.units import format_duration

_STYLES = {
    State.QUEUED: "dim",
    State.RUNNING: "cyan",
    State.SUCCEEDED: "green",
    State.FAILED: "red",
    State.CANCELLED: "yellow",
    State.LOST: "red",
}


def digest_of(store: RunStore, run: Run) -> tuple[Digest, list[int]]:
    """Where a run stands, and the damaged lines of its events."""
    events = EventFile(store.folder(run) / EVENTS)
    return Digest().feed(events.read()), events.damaged


def run_facts(run: Run, store: RunStore, digest: Digest | None = None) -> dict[str, Any]:
    """A run as JSON; with ``digest`` also where it stands."""
    now = datetime.now(UTC)
    failure = run.failure if run.state not in ACTIVE else None
    facts: dict[str, Any] = {
        "id": run.id,
        "name": run.name,
        "kind": run.kind,
        "state": str(run.state),
        "attempt": run.attempt,
        "background": run.background,
        "can_resume": run.can_resume,
        "created": run.created,
        "queued": run.queued,
        "started": run.started,
        "finished": run.finished,
        "seconds": run.seconds(now),
        "heartbeat": run.heartbeat,
        "stop_requested": run.stop_requested,
        "host": run.host,
        "pid": run.process.pid if run.process is not None else None,
        "exit_code": run.exit_code if run.state not in ACTIVE else None,
        "error": {"code": failure.code, "message": failure.message, "hint": failure.hint} if failure else None,
        "result": dict(run.result) if run.state is State.SUCCEEDED or run.state is State.CANCELLED else {},
        "folder": str(store.folder(run)),
    }
    if digest is not None:
        facts["progress"] = progress_facts(digest, run, now)
    return facts


def progress_facts(digest: Digest, run: Run, now: datetime) -> dict[str, Any]:
    """Where a run stands as JSON; times in seconds."""
    task = digest.task
    left = digest.seconds_left(now.timestamp()) if run.state is State.RUNNING else None
    return {
        "task": task.label if task is not None else None,
        "completed": task.completed if task is not None else None,
        "total": task.total if task is not None else None,
        "unit": task.unit if task is not None else None,
        "share": digest.share,
        "seconds_left": left,
        "measures": {name: value for name, (value, _) in digest.measures.items()},
        "best_eval_loss": {"value": digest.best[0], "step": digest.best[1]} if digest.best is not None else None,
        "checkpoint": {"folder": digest.checkpoint[0], "step": digest.checkpoint[1]} if digest.checkpoint else None,
        "artefacts": [{"kind": kind, "name": name} for kind, name in digest.artefacts],
        "samples": digest.samples,
        "warnings": list(dict.fromkeys(digest.warnings)),
    }


def show_table(out: Output, rows: list[tuple[Run, Digest | None]]) -> None:
    """The list of runs."""
    now = datetime.now(UTC)
    table = [
        (
            run.id,
            run.name,
            state_text(run.state),
            _share(digest),
            _loss(digest),
            moment(run.started),
            format_duration(seconds) if (seconds := run.seconds(now)) is not None else None,
        )
        for run, digest in rows
    ]
    out.table(
        [
            Column(t("Id"), style="bold"),
            t("Name"),
            t("State"),
            Column(t("Progress"), right=True),
            Column(t("Loss"), right=True),
            t("Started"),
            Column(t("Time"), right=True),
        ],
        table,
    )


def show_queued(out: Output, run: Run, store: RunStore) -> None:
    """A run that a worker takes: its id, and how to follow it."""

    def human() -> None:
        out.print(run.id)
        out.note(t("Follow it: llmasos runs show -f {run}", run=run.id))

    out.result(run_facts(run, store), human)


def show_run(out: Output, run: Run, store: RunStore, digest: Digest, damaged: list[int]) -> None:
    """Everything about one run."""
    now = datetime.now(UTC)
    out.print(run.id + (f"  {run.name}" if run.name else ""), style="bold")
    out.print("  " + state_text(run.state), style=_STYLES[run.state])
    pairs: list[tuple[str, object]] = [(t("Kind"), run.kind), (t("Created"), moment(run.created))]
    if run.started is not None:
        pairs.append((t("Started"), moment(run.started)))
    if (seconds := run.seconds(now)) is not None:
        pairs.append((t("Time"), format_duration(seconds)))
    if run.attempt > 1:
        pairs.append((t("Attempts"), run.attempt))
    pairs += progress_pairs(digest, run, now)
    pairs += result_pairs(run)
    if digest.checkpoint is not None:
        pairs.append(
            (t("Checkpoint"), t("{folder}, step {step}", folder=digest.checkpoint[0], step=digest.checkpoint[1]))
        )
    pairs.append((t("Folder"), store.folder(run)))
    out.facts(pairs, width=20)
    for warning in dict.fromkeys(digest.warnings):
        out.warn(warning)
    if damaged:
        out.warn(damage_text(damaged))
    if run.failure is not None and run.state not in ACTIVE:
        out.print(t("error:") + " " + run.failure.message, style="red")
        if run.failure.hint:
            out.print("  " + t("hint:") + " " + run.failure.hint, style="dim")
    if run.can_resume:
        out.note(t("Go on with it: llmasos runs resume {run}", run=run.id))


def damage_text(damaged: list[int]) -> str:
    """What to say of lines of events that cannot be read."""
    shown = ", ".join(str(number) for number in damaged[:5]) + (" ..." if len(damaged) > 5 else "")
    return t(
        "{count} lines of {file} are damaged and were left out: {lines}",
        count=len(damaged), file=EVENTS, lines=shown,
    )  # fmt: skip


def moment(when: datetime | None) -> str:
    """A time in the local zone."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M") if when is not None else "-"


def _share(digest: Digest | None) -> str | None:
    return f"{digest.share:.0%}" if digest is not None and digest.share is not None else None


def _loss(digest: Digest | None) -> str | None:
    loss = digest.measure("loss") if digest is not None else None
    return f"{loss:.4f}" if loss is not None else None
