"""``llmasos harness``: tasks and files of lm-evaluation-harness."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmasos.cli.completion import complete_model
from llmasos.cli.loading import with_license
from llmasos.cli.model_options import AcceptLicense, Device, DType, Threads
from llmasos.cli.output import Column, Output
from llmasos.errors import InvalidRequest
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.evaluation.backends.protocol import Backend
    from llmasos.evaluation.result import Evaluation

app = typer.Typer()
group = typer.Typer(help="Run tasks of lm-evaluation-harness, write its files and read them.")
app.add_typer(group, name="harness")

Json = Annotated[bool, typer.Option("--json", help=t("Write JSON."))]


@group.command("run")
def run(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help=t("A model by name, source or folder."), autocompletion=complete_model),
    ],
    tasks: Annotated[
        list[str], typer.Option("--task", "-t", metavar="NAME", help=t("A task of the harness; several with commas."))
    ],
    include: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help=t("Folder with more task files of the harness's format."))
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", help=t("The first rows of each task only."))] = None,
    few_shot: Annotated[
        int | None, typer.Option("--few-shot", "-k", help=t("Solved examples before each question."))
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help=t("Send prompts through the model's chat template."))] = False,
    seed: Annotated[int, typer.Option(help=t("Seed of examples and of sampled answers."))] = 1234,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help=t("Folder for files of the harness."))
    ] = None,
    dtype: DType = None,
    device: Device = None,
    threads: Threads = None,
    accept_license: AcceptLicense = False,
    json: Json = False,
) -> None:
    """Run tasks of lm-evaluation-harness unchanged, on our engine."""
    from llmasos.evaluation.harness.run import require_harness, run_harness
    from llmasos.sdk_evaluation import evaluation_backend

    out = Output(json=json)
    require_harness()
    names = [name for given in tasks for name in given.split(",") if name]
    with ExitStack() as stack:

        def open_it(accept: bool) -> Backend:
            return stack.enter_context(
                evaluation_backend(model, dtype=dtype, device=device, threads=threads, accept_license=accept)
            )

        backend = with_license(open_it, out, accept_license)
        done = run_harness(
            backend, names, include=include, limit=limit, few_shot=few_shot, chat=chat, seed=seed, output=output
        )
    value = {"results": done.results["results"], "files": [str(path) for path in done.files]}

    def human() -> None:
        _scores(out, [item.evaluation for item in done.imported])
        for path in done.files:
            out.print(t("written: {path}", path=path))

    out.result(value, human)


@group.command("export")
def export(
    runs: Annotated[
        list[Path], typer.Argument(metavar="FOLDER", help=t("Folders of finished evaluations of one model."))
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help=t("Folder to write into."))],
    json: Json = False,
) -> None:
    """Write evaluations as files of lm-evaluation-harness."""
    from llmasos.evaluation.harness.files import about_export, to_harness, write_harness_files
    from llmasos.evaluation.parquet import read_records
    from llmasos.evaluation.store import SAMPLES_FILE, read_evaluation

    out = Output(json=json)
    found = [(read_evaluation(folder), read_records(folder / SAMPLES_FILE)) for folder in runs]
    models = sorted({evaluation.model for evaluation, _ in found})
    if len(models) > 1:
        raise InvalidRequest(
            t("the evaluations are of different models: {models}", models=", ".join(models)),
            hint=t("A results file of the harness holds one model; export each on its own."),
        )
    written = write_harness_files(output, *to_harness(found))

    def human() -> None:
        for path in written:
            out.print(t("written: {path}", path=path))
        out.print(about_export())

    out.result({"files": [str(path) for path in written]}, human)


@group.command("import")
def import_(
    results: Annotated[
        Path, typer.Argument(metavar="FILE", help=t("results_....json of the harness; samples are found beside it."))
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help=t("Folder to write into, one folder for each task.")),
    ],
    json: Json = False,
) -> None:
    """Read files of lm-evaluation-harness, so that `llmasos compare` can compare them."""
    from llmasos.evaluation.harness.reading import read_harness_files
    from llmasos.evaluation.harness.store import write_imported

    out = Output(json=json)
    found = read_harness_files(results)
    folders = []
    for item in found:
        folder = output / item.evaluation.task
        write_imported(folder, item)
        folders.append(folder)

    def human() -> None:
        _scores(out, [item.evaluation for item in found])
        for folder in folders:
            out.print(t("written: {path}", path=folder))

    out.result({"tasks": [item.evaluation.task for item in found], "folders": [str(path) for path in folders]}, human)


def _scores(out: Output, evaluations: list[Evaluation]) -> None:
    rows: list[tuple[Any, ...]] = []
    for evaluation in evaluations:
        for name, entry in evaluation.scores.items():
            interval = "" if entry.low is None else f"[{entry.low:.4f}, {entry.high:.4f}]"
            rows.append((evaluation.task, name, f"{entry.value:.4f}", interval, evaluation.samples))
    out.table([Column(t("Task"), style="bold"), t("Metric"), t("Value"), t("Interval"), t("Samples")], rows)
