"""``llmasos train``: a recipe becomes a model or an adapter in the library."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmasos.cli.completion import complete_run
from llmasos.cli.model_options import AcceptLicense
from llmasos.cli.output import Output
from llmasos.errors import InvalidRequest
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.library.store import Library
    from llmasos.runs.execution import Finished
    from llmasos.runs.run import Run
    from llmasos.training.launch import Plan

app = typer.Typer()


@app.command("train")
def train(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="[RECIPE]", help=t("The recipe, a YAML file of a kind of training."))
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help=t("Change a value of the recipe, such as seed=7; may be repeated.")
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help=t("Name of the run instead of the recipe's."))] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help=t("Go on with a run that was stopped, killed or failed."), autocompletion=complete_run
        ),
    ] = None,
    background: Annotated[
        bool, typer.Option("--background", help=t("Queue it for a worker that outlives this terminal."))
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help=t("Check everything that can be checked, and train nothing."))
    ] = False,
    accept_license: AcceptLicense = False,
    json: Annotated[bool, typer.Option("--json", help=t("Write JSON."))] = False,
) -> None:
    """Train a model as a recipe says, and put it into the library.

    Ctrl-C stops it after the present step: it saves a checkpoint and can be resumed. A second Ctrl-C ends it at once.
    """
    from llmasos.cli.loading import with_license
    from llmasos.library.store import Library
    from llmasos.training.launch import plan_training, queue_training, shows_progress

    if dry_run and (background or resume):
        raise InvalidRequest(
            t("--dry-run goes with neither --background nor --resume"),
            hint=t("Check the recipe first: llmasos train RECIPE --dry-run"),
        )
    out = Output(json=json)
    library = Library()
    if dry_run:
        _check(out, recipe, set_ or [], library)
        return
    plan = with_license(
        lambda accept: plan_training(
            recipe, set_ or (), name=name, resume=resume, library=library, accept_license=accept
        ),
        out,
        accept_license,
    )
    if background:
        from llmasos.cli.runs_text import show_queued
        from llmasos.runs.store import RunStore

        run = queue_training(plan.recipe, library=library, name=name, resume=plan.resume)
        show_queued(out, run, RunStore(library))
        return
    finished = _here(out, plan, library, name)
    if not shows_progress():  # one of several processes, of which the first tells
        if finished.error is not None:
            raise finished.error
        return
    _tell(out, finished, library)


def _check(out: Output, recipe: Path | None, changes: list[str], library: Library) -> None:
    """Check a recipe as `llmasos recipe check` does."""
    from llmasos.cli.preflight import check_training
    from llmasos.training.launch import read_recipe

    if recipe is None:
        raise InvalidRequest(t("--dry-run needs a recipe"), hint=t("`llmasos train RECIPE --dry-run`"))
    check_training(read_recipe(recipe, changes), recipe, out, full=False, library=library)


def _here(out: Output, plan: Plan, library: Library, name: str | None) -> Finished:
    """Train in this process, with its progress on standard error."""
    from llmasos import progress
    from llmasos.cli.follow import RunSink, WhileWatched
    from llmasos.progress import Event
    from llmasos.runs.states import State
    from llmasos.runs.store import RunStore
    from llmasos.training.launch import shows_progress, train_here

    store = RunStore(library)

    def on_start(run: Run) -> None:
        if not shows_progress():
            return
        out.note(t("run {run}, log in {folder}", run=run.id, folder=store.folder(run)))
        others = [other.id for other in store.all(states=[State.RUNNING]) if other.id != run.id]
        if others:
            out.warn(t("running at the same time, and slowing each other down: {runs}", runs=", ".join(others)))

    def on_stop() -> None:
        text = t("stopping after a checkpoint; once more ends it at once")
        shown(Event("log", text, values={"level": "warning"}))

    with out.progress():
        shown = WhileWatched(progress.current().emit)
        sinks = (RunSink(shown),) if shows_progress() else ()
        return train_here(
            plan.recipe, library=library, name=name, resume=plan.resume, sinks=sinks, on_start=on_start, on_stop=on_stop
        )


def _tell(out: Output, finished: Finished, library: Library) -> None:
    """The result; raises what ended the run."""
    from llmasos.cli.runs_text import run_facts
    from llmasos.runs.states import State
    from llmasos.runs.store import RunStore

    store = RunStore(library)
    run = finished.run
    if finished.outcome.state is State.FAILED:
        if run.can_resume:
            out.note(t("The run {run} can go on: llmasos train --resume {run}", run=run.id))
        assert finished.error is not None
        raise finished.error
    if finished.outcome.state is State.CANCELLED:
        out.result(run_facts(run, store), lambda: out.print(t("The run {run} has stopped.", run=run.id)))
        out.note(t("Go on with it: llmasos train --resume {run}", run=run.id))
        raise typer.Exit(finished.outcome.exit_code)
    out.result(run_facts(run, store), lambda: _show_result(out, run, dict(run.result)))


def _show_result(out: Output, run: Run, result: dict[str, Any]) -> None:
    from llmasos.units import format_count, format_duration

    made = result.get("name") or result.get("digest")
    pairs: list[tuple[str, object]] = [(t("Run"), run.id)]
    if made:
        pairs.append((t("Result"), made))
    pairs.append((t("Steps"), f"{result['steps']:,} / {result['total_steps']:,}"))
    pairs.append((t("Tokens"), format_count(result["tokens"])))
    pairs.append((t("Time"), format_duration(result["seconds"])))
    for measure, value in result["after"].items():
        before = result["before"].get(measure)
        pairs.append((measure, f"{before:.4f} → {value:.4f}" if before is not None else f"{value:.4f}"))
    out.facts(pairs, width=20)
    out.note(t("Curves: llmasos runs plot {run}", run=run.id))
    if made:
        verb = "classify" if run.kind in ("classify", "reward") else "run"
        out.note(t("Use it: llmasos {verb} {name}", verb=verb, name=made))
