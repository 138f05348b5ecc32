"""``llmasos eval``: how good a model is at tasks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmasos.cli import evaluation_text as text
from llmasos.cli.completion import complete_model
from llmasos.cli.loading import with_license
from llmasos.cli.model_options import AcceptLicense, Device, DType, Threads
from llmasos.cli.output import Output
from llmasos.errors import InvalidRequest, NotFound
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.evaluation.backends.protocol import Backend
    from llmasos.evaluation.evaluate import Evaluated
    from llmasos.evaluation.options import RunOptions
    from llmasos.evaluation.reports.gate import Bound
    from llmasos.evaluation.tasks.find import FoundTask

app = typer.Typer()


def complete_task(incomplete: str) -> list[str]:
    """Names of built-in tasks that start with ``incomplete``."""
    folder = Path(__file__).parent.parent / "evaluation" / "tasks"
    return sorted(path.stem for path in folder.glob("*.yaml") if path.stem.startswith(incomplete))


@app.command("eval")
def evaluate(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help=t("A model by name, source or folder."), autocompletion=complete_model),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            "-t",
            metavar="NAME|FILE",
            help=t("A built-in task or a task file; several with commas, or the option again."),
            autocompletion=complete_task,
        ),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help=t("List the built-in tasks."))] = False,
    explain: Annotated[
        str | None,
        typer.Option(metavar="KIND", help=t("List every key of a kind of task, such as choice, with its meaning.")),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", help=t("Most samples of each task, spread over its rows."))
    ] = None,
    few_shot: Annotated[
        int | None, typer.Option("--few-shot", "-k", help=t("Solved examples before each question."))
    ] = None,
    chat: Annotated[
        str | None, typer.Option(metavar="on|off|auto", help=t("Whether prompts go through the model's chat template."))
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help=t("Most tokens of an answer."))] = None,
    seed: Annotated[int | None, typer.Option(help=t("Seed of examples and of sampled answers."))] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help=t("Change a key of the tasks."))
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help=t("Folder in which the data is looked for first."))
    ] = None,
    unchecked_data: Annotated[
        bool, typer.Option("--unchecked-data", help=t("Take files there whose checksum is not that of the task."))
    ] = False,
    sample: Annotated[
        bool, typer.Option("--sample", help=t("Use the few made-up rows that come with a task, to try it out."))
    ] = False,
    show_prompts: Annotated[
        int | None, typer.Option(metavar="N", help=t("Show the first N prompts of each task as sent, and stop."))
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help=t("Folder for results and samples."))
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help=t("Go on with a run of the same settings that was interrupted."))
    ] = False,
    report: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help=t("Also write a report: .html, .md, .csv or .json; may be repeated.")),
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=VALUE", help=t("Exit with code 9 if a score is worse than this; TASK:METRIC=VALUE for one.")
        ),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help=t("Write JUnit XML, with a test for each --fail-under."))
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help=t("Ask this server with an API like OpenAI's; the address ends in /v1.")),
    ] = None,
    api_key_variable: Annotated[
        str | None, typer.Option(metavar="NAME", help=t("Environment variable that holds the key of the endpoint."))
    ] = None,
    concurrency: Annotated[int, typer.Option(help=t("Calls to the endpoint at the same time."))] = 8,
    unsafe_code: Annotated[
        bool,
        typer.Option("--unsafe-code", help=t("Run generated programs without isolation if there is none here.")),
    ] = False,
    background: Annotated[
        bool, typer.Option("--background", help=t("Queue it for a worker that outlives this terminal."))
    ] = False,
    dtype: DType = None,
    device: Device = None,
    threads: Threads = None,
    accept_license: AcceptLicense = False,
    json: Annotated[bool, typer.Option("--json", help=t("Write JSON."))] = False,
) -> None:
    """Evaluate a model on tasks: accuracy, perplexity, BLEU and more, with intervals, and every sample on record.

    Tasks are built in (--list) or YAML files. Data is taken from --data, or fetched once and checked. Scores of a model
    of the library are kept with its version: see `llmasos show`, `llmasos compare` and `llmasos leaderboard`.
    """
    from llmasos.evaluation.options import RunOptions
    from llmasos.evaluation.prepare import fetch_data
    from llmasos.evaluation.reports.gate import Bound
    from llmasos.evaluation.reports.write import check_report_path
    from llmasos.sdk_evaluation import evaluation_backend, find_tasks, key_from

    out = Output(json=json)
    if list_:
        text.print_tasks(out)
        return
    if explain is not None:
        text.print_keys(out, explain)
        return
    if model is None or not task:
        raise InvalidRequest(
            t("a model and a task are needed"),
            hint=t("For example: llmasos eval smollm2:135m-instruct --task arc-easy --limit 100"),
        )
    names = [name for given in task for name in given.split(",") if name]
    found = find_tasks(names, set_ or ())
    options = RunOptions(
        limit=limit, few_shot=few_shot, chat=chat, seed=seed, max_tokens=max_tokens, sample=sample, data=data,  # type: ignore[arg-type]  # RunOptions checks chat
        unchecked_data=unchecked_data, unsafe_code=unsafe_code,
    )  # fmt: skip
    bounds = [Bound.parse(given) for given in fail_under or ()]
    for path in report or ():
        check_report_path(path)
    if data is not None and not data.is_dir():
        raise NotFound(t("there is no folder {path}", path=data), hint=t("Check the path."))
    if background:
        if resume or output is not None or show_prompts is not None or report or bounds or junit is not None:
            raise InvalidRequest(
                t("--background goes with none of --resume, --output, --show-prompts, --report, --fail-under, --junit"),
                hint=t("Afterwards: llmasos scores MODEL; to go on with a run: llmasos runs resume RUN"),
            )
        recipe = {
            "kind": "evaluate", "model": model, "tasks": names, "changes": set_, "limit": limit, "few_shot": few_shot,
            "chat": chat, "seed": seed, "max_tokens": max_tokens, "sample": sample,
            "data": None if data is None else str(data), "unchecked_data": unchecked_data, "unsafe_code": unsafe_code,
            "endpoint": None
            if endpoint is None
            else {"url": endpoint, "key_variable": api_key_variable, "concurrency": concurrency},
            "dtype": dtype, "device": device, "threads": threads,
        }  # fmt: skip
        _queue(out, {key: value for key, value in recipe.items() if value is not None}, accept_license)
        return
    with out.progress():
        for item in found:
            fetch_data(item, options)
    key = None if api_key_variable is None else key_from(api_key_variable)
    with ExitStack() as stack:

        def open_it(accept: bool) -> Backend:
            return stack.enter_context(
                evaluation_backend(
                    model, endpoint=endpoint, api_key=key, concurrency=concurrency, dtype=dtype, device=device,
                    threads=threads, accept_license=accept,
                )
            )  # fmt: skip

        backend = with_license(open_it, out, accept_license)
        if show_prompts is not None:
            _show_prompts(out, backend, found, options, show_prompts)
        else:
            done = _run(out, backend, found, options, output=output, resume=resume)
            _finish(done, bounds, report or (), junit)


def _queue(out: Output, recipe: dict[str, Any], accept_license: bool) -> None:
    """Queue an evaluation as a run."""
    from llmasos.cli.runs_text import show_queued
    from llmasos.library.store import Library
    from llmasos.runs.store import RunStore
    from llmasos.sdk_evaluation import evaluate_in_background

    library = Library()
    run = with_license(
        lambda accept: evaluate_in_background(recipe, library=library, accept_license=accept), out, accept_license
    )
    show_queued(out, run, RunStore(library))


def _show_prompts(out: Output, backend: Backend, found: list[FoundTask], options: RunOptions, count: int) -> None:
    from llmasos.evaluation.prepare import prepare
    from llmasos.evaluation.runner import prompts

    shown = {item.task.name: prompts(prepare(item, backend, options), backend, count) for item in found}
    out.result(shown, lambda: text.print_prompts(out, shown))


def _run(
    out: Output,
    backend: Backend,
    found: list[FoundTask],
    options: RunOptions,
    *,
    output: Path | None,
    resume: bool,
) -> list[Evaluated]:
    from llmasos.evaluation.evaluate import evaluate as run
    from llmasos.library.store import Library
    from llmasos.sdk import load

    done: list[Evaluated] = []
    with out.progress():
        done += run(backend, found, options, output=output, resume=resume, library=Library(), open_model=load)
    out.result([text.as_json(item) for item in done], lambda: text.print_results(out, done))
    return done


def _finish(done: Sequence[Evaluated], bounds: Sequence[Bound], reports: Sequence[Path], junit: Path | None) -> None:
    """Write what other programs read, and fail if a bound is not kept."""
    from llmasos.evaluation.reports.gate import as_junit, checks, enforce
    from llmasos.evaluation.reports.write import write_report
    from llmasos.evaluation.runs import Run
    from llmasos.library.disk import write_file

    runs = [Run(item.evaluation, item.folder) for item in done if item.folder is not None]
    for path in reports:
        write_report(runs, path)
    evaluations = [item.evaluation for item in done]
    found = checks(bounds, evaluations)
    if junit is not None:
        junit.parent.mkdir(parents=True, exist_ok=True)
        write_file(junit, as_junit(found, evaluations).encode())
    enforce(found)
