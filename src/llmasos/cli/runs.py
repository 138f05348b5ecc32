"""``llmasos runs``: long work, what became of it, and its curves."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from llmasos.cli.completion import complete_run
from llmasos.cli.model_options import AcceptLicense
from llmasos.cli.output import Output
from llmasos.errors import InvalidRequest, did_you_mean
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.runs.queue import Queue
    from llmasos.runs.run import Run

app = typer.Typer()
group = typer.Typer(help="Look at long work, stop it, go on with it, and draw its curves.")
app.add_typer(group, name="runs")

Json = Annotated[bool, typer.Option("--json", help=t("Write JSON."))]
RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help=t("A run: its id, the beginning of it, or its name."), autocompletion=complete_run
    ),
]
RunNames = Annotated[
    list[str],
    typer.Argument(metavar="RUN...", help=t("Runs: ids, beginnings of ids, or names."), autocompletion=complete_run),
]
_SHOWN = 20


def open_queue() -> Queue:
    """The queue of the settings' library."""
    from llmasos.library.store import Library
    from llmasos.runs.queue import Queue
    from llmasos.runs.store import RunStore
    from llmasos.settings import get_settings

    return Queue(RunStore(Library()), limit=get_settings().concurrent_runs)


def open_found(name: str) -> tuple[Queue, Run]:
    """The queue and a run of it, after what happened to workers has been noted."""
    queue = open_queue()
    queue.dispatch()
    return queue, queue.store.find(name)


@group.command("list")
def list_runs(
    state: Annotated[
        str | None,
        typer.Option(help=t("Only runs in this state: queued, running, succeeded, failed, cancelled, lost.")),
    ] = None,
    kind: Annotated[str | None, typer.Option(help=t("Only runs of this kind, such as sft."))] = None,
    all_: Annotated[bool, typer.Option("--all", help=t("All runs, not only the newest 20."))] = False,
    json: Json = False,
) -> None:
    """List runs, the newest first."""
    from llmasos.cli.runs_text import digest_of, run_facts, show_table
    from llmasos.runs.states import State

    states = [str(item) for item in State]
    if state is not None and state not in states:
        raise InvalidRequest(
            t("{name} = {value}: allowed is {allowed}", name="--state", value=repr(state), allowed=", ".join(states)),
            hint=did_you_mean(state, states),
        )
    out = Output(json=json)
    queue = open_queue()
    queue.dispatch()
    runs = queue.store.all(states=[State(state)] if state is not None else None)
    runs = [run for run in runs if kind is None or run.kind == kind]
    shown = runs if all_ else runs[:_SHOWN]
    rows = [(run, digest_of(queue.store, run)[0]) for run in shown]

    def human() -> None:
        if not shown:
            out.print(t("There are no runs. `llmasos train RECIPE` starts one."))
            return
        show_table(out, list(rows))
        if len(shown) < len(runs):
            out.note(t("{count} older runs are not shown; --all shows them", count=len(runs) - len(shown)))

    out.result([run_facts(run, queue.store, digest) for run, digest in rows], human)


@group.command("show")
def show(
    name: RunName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help=t("Show what happens until the run ends."))] = False,
    json: Json = False,
) -> None:
    """Describe a run: state, progress, time left, speed, memory, loss, result."""
    from llmasos.cli.runs_text import digest_of, run_facts, show_run

    out = Output(json=json)
    queue, run = open_found(name)
    if follow:
        run = watch(out, queue, run)
    digest, damaged = digest_of(queue.store, run)
    facts = {**run_facts(run, queue.store, digest), "damaged_lines": damaged}
    out.result(facts, lambda: show_run(out, run, queue.store, digest, damaged))


def watch(out: Output, queue: Queue, run: Run) -> Run:
    """Show a run until it ends; Ctrl-C leaves it running. The run as it is then."""
    from llmasos import progress
    from llmasos.cli.follow import follow_events

    try:
        with out.progress():
            return follow_events(out, queue, run, progress.current().emit)
    except KeyboardInterrupt:
        out.note(t("The run goes on. Stop it: llmasos runs stop {run}", run=run.id))
        raise


@group.command("logs")
def logs(
    name: RunName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help=t("Go on until the run ends."))] = False,
    lines: Annotated[int | None, typer.Option("--lines", "-n", min=0, help=t("Only the last lines."))] = None,
    events: Annotated[
        bool, typer.Option("--events", help=t("Write the events as JSON, one a line, instead of the log."))
    ] = False,
    json: Json = False,
) -> None:
    """Print the log of a run."""
    from llmasos.cli.follow import follow_log
    from llmasos.runs.store import EVENTS, LOG
    from llmasos.runs.tail import Tail

    out = Output(json=json)
    if json and follow:
        raise InvalidRequest(
            t("--json and --follow exclude each other"),
            hint=t("`llmasos runs logs -f --events RUN` writes JSON lines."),
        )
    queue, run = open_found(name)
    if follow and not events:
        follow_log(out, queue, run, lines)
        return
    path = queue.store.folder(run) / (EVENTS if events else LOG)
    tail = Tail(path)
    found = list(tail.texts())
    found = found if lines is None else found[-lines:] if lines else []

    def human() -> None:
        for line in found:
            out.print(line)

    out.result({"id": run.id, "path": str(path), "lines": found}, human)
    while follow and not _ended(queue, run):
        time.sleep(0.3)
        for line in tail.texts():
            out.print(line)


def _ended(queue: Queue, run: Run) -> bool:
    from llmasos.runs.states import ACTIVE

    queue.dispatch()
    found = queue.store.get(run.id)
    return found is None or found.state not in ACTIVE


@group.command("plot")
def plot(
    names: RunNames,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", "-m", help=t("Which measure, such as loss; may be repeated. Default: loss; all in files.")
        ),
    ] = None,
    x: Annotated[Literal["step", "tokens"], typer.Option("--x", help=t("What the x axis counts."))] = "step",
    html: Annotated[Path | None, typer.Option(help=t("Write a page that needs no network into this file."))] = None,
    png: Annotated[Path | None, typer.Option(help=t("Write a picture into this file; needs matplotlib."))] = None,
    json: Json = False,
) -> None:
    """Draw the curves of one run or several, in the terminal or into files."""
    from llmasos.cli.runs_plot import plot_runs

    out = Output(json=json)
    queue = open_queue()
    queue.dispatch()
    found = [queue.store.find(name) for name in names]
    plot_runs(out, queue.store, found, metrics=metric or (), x=x, html=html, png=png)


@group.command("stop")
def stop(
    name: RunName,
    now: Annotated[
        bool, typer.Option("--now", help=t("End it at once, without a checkpoint, instead of after the present step."))
    ] = False,
    wait: Annotated[float, typer.Option(min=0, help=t("Seconds to wait until it has stopped."))] = 10.0,
    json: Json = False,
) -> None:
    """Stop a run: it saves a checkpoint and can be resumed."""
    from llmasos.cli.runs_text import run_facts
    from llmasos.runs.states import ACTIVE

    out = Output(json=json)
    queue, run = open_found(name)
    run = queue.stop(run, now=now)
    if run.state in ACTIVE and wait:
        out.note(t("asked to stop; waiting for its checkpoint"))
        run = queue.wait(run, wait)
    queue.dispatch()

    def human() -> None:
        if run.state in ACTIVE:
            out.print(t("The run {run} stops as soon as its checkpoint is written.", run=run.id))
        else:
            out.print(t("The run {run} has stopped.", run=run.id))
        if run.can_resume:
            out.note(t("Go on with it: llmasos runs resume {run}", run=run.id))

    out.result(run_facts(run, queue.store), human)


@group.command("resume")
def resume(
    name: RunName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help=t("Show what happens until the run ends."))] = False,
    accept_license: AcceptLicense = False,
    json: Json = False,
) -> None:
    """Go on with a run in the background: from its last checkpoint if it was stopped, killed or failed."""
    from llmasos.cli.runs_text import run_facts

    out = Output(json=json)
    queue, run = open_found(name)
    run = queue.resume(run, accept_license=accept_license)
    queue.dispatch()
    if follow:
        run = watch(out, queue, run)

    def human() -> None:
        out.print(run.id)
        if not follow:
            out.note(t("Follow it: llmasos runs show -f {run}", run=run.id))

    out.result(run_facts(queue.store.get(run.id) or run, queue.store), human)


@group.command("rm")
def remove(
    names: RunNames,
    force: Annotated[bool, typer.Option("--force", help=t("Do not ask."))] = False,
    json: Json = False,
) -> None:
    """Remove runs with their checkpoints and logs. What they put into the library stays."""
    from llmasos.runs.states import ACTIVE

    out = Output(json=json)
    queue = open_queue()
    queue.dispatch()
    found = list({run.id: run for run in (queue.store.find(name) for name in names)}.values())
    busy = [run.id for run in found if run.state in ACTIVE]
    if not force and not busy:
        question = t("Remove {runs} with all checkpoints?", runs=", ".join(run.id for run in found))
        if not out.confirm(question, flag="--force"):
            out.note(t("Nothing was removed."))
            return
    for run in found:
        queue.store.remove(run)
    removed = [run.id for run in found]
    out.result({"removed": removed}, lambda: out.print(t("removed: {names}", names=", ".join(removed))))
