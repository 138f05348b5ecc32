"""Data sets: prepare, preview, report, list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmasos.cli.completion import complete_library, complete_model
from llmasos.cli.model_options import AcceptLicense
from llmasos.cli.output import Column, Output
from llmasos.errors import InvalidRequest
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.library.store import Library

app = typer.Typer()
group = typer.Typer(help="Prepare data for training, and look at what was done to it.")
app.add_typer(group, name="data")

Json = Annotated[bool, typer.Option("--json", help=t("Write JSON."))]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help=t("Change a value of the recipe, such as seed=7; may be repeated.")
    ),
]


@group.command("prepare")
def prepare(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help=t("The recipe, a YAML file of the kind data."))],
    set_: Set = None,
    name: Annotated[str | None, typer.Option(help=t("Name of the data set instead of the recipe's."))] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help=t("Processes at the same time; default: the usable cores."))
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help=t("Where to write the report (.html or .json); default: in the home folder."))
    ] = None,
    export: Annotated[Path | None, typer.Option(help=t("Also write the data set into this folder."))] = None,
    keep_work: Annotated[bool, typer.Option("--keep-work", help=t("Keep the files in between."))] = False,
    background: Annotated[
        bool, typer.Option("--background", help=t("Queue it for a worker that outlives this terminal."))
    ] = False,
    accept_license: AcceptLicense = False,
    json: Json = False,
) -> None:
    """Read, clean, filter and split data as a recipe says, and put the result into the library.

    Every row that is rejected is kept with its reason, and a report tells what each step did. After an interruption the
    same command goes on where it stopped.
    """
    from llmasos.cli.data_text import show_prepared
    from llmasos.cli.loading import with_license
    from llmasos.data.report.write import default_report_path, write_report
    from llmasos.library.store import Library
    from llmasos.sdk import prepare as run

    out = Output(json=json)
    library = Library()
    changes = [*(set_ or ()), *([f"name={name}"] if name else ())]
    if background:
        if report is not None or export is not None or keep_work:
            raise InvalidRequest(
                t("--background goes with none of --report, --export and --keep-work"),
                hint=t("Afterwards: llmasos data report NAME, llmasos export NAME FOLDER"),
            )
        _queue(out, library, recipe, [*changes, *([f"execution.workers={workers}"] if workers else ())], accept_license)
        return
    prepared = with_license(
        lambda accept: run(
            recipe, set=changes, workers=workers, library=library, keep_work=keep_work, accept_license=accept
        ),
        out,
        accept_license,
    )
    path = report or default_report_path(library, prepared.version)
    write_report(prepared.facts, path, library)
    if export is not None:
        from llmasos.data.output.export import export_files

        export_files(library, prepared.version, export)
    shown_name = prepared.version.names[0] if prepared.version.names else prepared.version.digest
    data = {
        "name": shown_name,
        "digest": prepared.version.digest,
        "report": str(path),
        "resumed_tasks": prepared.resumed,
        **{key: prepared.facts[key] for key in ("kind", "totals", "splits", "steps")},
    }
    out.result(data, lambda: show_prepared(out, prepared, shown_name, path))


def _queue(out: Output, library: Library, recipe: Path, changes: list[str], accept_license: bool) -> None:
    """Queue a preparation as a run."""
    from llmasos.cli.runs_text import show_queued
    from llmasos.data.queueing import queue_preparation
    from llmasos.data.recipe import DataRecipe
    from llmasos.recipe import loading
    from llmasos.runs.store import RunStore

    checked = loading.check(loading.read(recipe), DataRecipe, changes)
    run = queue_preparation(checked, recipe.absolute().parent, library=library, accept_license=accept_license)
    show_queued(out, run, RunStore(library))


@group.command("report")
def report(
    data_set: Annotated[
        str, typer.Argument(metavar="DATA", help=t("A data set of the library."), autocompletion=complete_library)
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help=t("Where to write it (.html or .json)."))
    ] = None,
    json: Json = False,
) -> None:
    """Write the report of a prepared data set: one HTML file that needs no network, or JSON."""
    from llmasos.cli.data_text import show_steps
    from llmasos.data.report.write import default_report_path, read_facts, write_report
    from llmasos.library.store import Library

    out = Output(json=json)
    library = Library()
    version = library.resolve(data_set)
    facts = read_facts(library, version)
    path = output or default_report_path(library, version)
    write_report(facts, path, library)

    def human() -> None:
        show_steps(out, facts)
        out.print()
        out.print(t("Report: {path}", path=path))

    out.result({"path": str(path), **facts}, human)


@group.command("preview")
def preview(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help=t("A recipe (.yaml), a data set of the library, a file or a folder.")),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help=t("Show the sample as this model sees it."), autocompletion=complete_model),
    ] = None,
    row: Annotated[int, typer.Option(min=1, help=t("Which row, counted from 1."))] = 1,
    split: Annotated[str, typer.Option(help=t("Split of a data set of the library."))] = "train",
    max_length: Annotated[int | None, typer.Option(min=2, help=t("Most tokens of a sample."))] = None,
    set_: Set = None,
    accept_license: AcceptLicense = False,
    json: Json = False,
) -> None:
    """Show what a source holds and how it is read; with --model, the tokens of a sample and which are learned."""
    from llmasos.cli import data_preview
    from llmasos.cli.loading import with_license

    out = Output(json=json)
    found = data_preview.first_rows(source, split=split, row=row, assignments=set_ or ())
    reference = model or found.model
    if reference is None:
        out.result(found.as_json(), lambda: data_preview.show_rows(out, found))
        return
    rendered = with_license(
        lambda accept: data_preview.render(found, reference, max_length=max_length, accept_license=accept),
        out,
        accept_license,
    )
    out.result({**found.as_json(), "preview": rendered}, lambda: data_preview.show_rendered(out, found, rendered))


@group.command("list")
def list_data(json: Json = False) -> None:
    """List the data sets of the library with their rows and splits."""
    from llmasos.data.output.catalogue import data_sets
    from llmasos.library.store import Library
    from llmasos.units import format_bytes

    out = Output(json=json)
    found = data_sets(Library())

    def human() -> None:
        if not found:
            out.print(t("There is no data set in the library. `llmasos data prepare RECIPE` makes one."))
            return
        rows: list[tuple[Any, ...]] = [
            (
                item.name,
                item.kind,
                f"{item.rows:,}" if item.rows is not None else None,
                ", ".join(f"{name} {count:,}" for name, count in item.splits.items()),
                format_bytes(item.size),
            )
            for item in found
        ]
        out.table(
            [
                t("Name"),
                t("Kind of samples"),
                Column(t("Rows"), right=True),
                t("Splits"),
                Column(t("Size"), right=True),
            ],
            rows,
        )

    out.result(found, human)
