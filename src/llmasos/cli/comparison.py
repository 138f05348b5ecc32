"""What finished evaluations say: compare, leaderboard, scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmasos.cli import comparison_text as text
from llmasos.cli.completion import complete_library
from llmasos.cli.output import Output
from llmasos.errors import InvalidRequest, NotFound, did_you_mean
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.evaluation.comparison.judged import JudgedPair
    from llmasos.evaluation.runs import Run
    from llmasos.library.store import Library

app = typer.Typer()

Tasks = Annotated[
    list[str] | None,
    typer.Option("--task", "-t", metavar="NAME", help=t("Only this task; several with commas, or the option again.")),
]
Folders = Annotated[
    list[Path] | None,
    typer.Option(
        "--runs", metavar="FOLDER", help=t("Look for evaluations here as well; may be repeated."), file_okay=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help=t("Write JSON."))]


@app.command("compare")
def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help=t("Models that were evaluated, or folders of results; the first is what others are compared with."),
            autocompletion=complete_library,
        ),
    ],
    task: Tasks = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", metavar="NAME", help=t("Compare this score; default: the first of each task.")),
    ] = None,
    all_metrics: Annotated[bool, typer.Option("--all-metrics", help=t("Compare all scores."))] = False,
    all_pairs: Annotated[
        bool, typer.Option("--all-pairs", help=t("Compare every model with every other, not with the first alone."))
    ] = False,
    alpha: Annotated[
        float, typer.Option(min=0.0001, max=0.5, help=t("The chance of any false finding that is accepted."))
    ] = 0.05,
    samples: Annotated[int, typer.Option(min=0, help=t("Samples shown that changed most, and that are hardest."))] = 3,
    resamples: Annotated[int, typer.Option(min=100, help=t("Resamples of the bootstrap."))] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help=t("Seed of the resamples."))] = 0,
    runs: Folders = None,
    allow_different: Annotated[
        bool,
        typer.Option("--allow-different", help=t("Compare although task, samples or settings differ, and say so.")),
    ] = False,
    fail_if_worse: Annotated[
        bool,
        typer.Option("--fail-if-worse", help=t("Exit with code 9 if a model is worse than the first.")),
    ] = False,
    judge: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help=t("Also let this model judge the answers, each pair in both orders.")),
    ] = None,
    judge_endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help=t("Where the judge is, if it has an API like OpenAI's."))
    ] = None,
    judge_key_variable: Annotated[
        str | None, typer.Option(metavar="NAME", help=t("Environment variable that holds the key of the endpoint."))
    ] = None,
    judge_criteria: Annotated[
        str | None, typer.Option(metavar="TEXT", help=t("What counts for the judge, in a sentence."))
    ] = None,
    judge_samples: Annotated[int, typer.Option(min=1, help=t("Most samples that the judge is shown of a pair."))] = 100,
    json: Json = False,
) -> None:
    """Say whether models differ on the same samples, how sure that is, and on which samples they differ most.

    Samples are paired, so that what is hard for all does not count as noise. Right or wrong is tested by McNemar's
    mid-p test, other scores by the paired bootstrap; p-values are corrected for all tests shown (Holm).
    """
    from llmasos.evaluation.comparison.compare import compare as run
    from llmasos.evaluation.comparison.result import CompareOptions
    from llmasos.library.store import Library

    out = Output(json=json)
    library = Library()
    options = CompareOptions(
        metrics=tuple(_split(metric)), all_metrics=all_metrics, all_pairs=all_pairs, alpha=alpha, resamples=resamples,
        seed=seed, samples=samples, allow_different=allow_different,
    )  # fmt: skip
    found = run(_named(models, library, runs), options, _split(task))
    judged: list[JudgedPair] = []
    if judge is not None:
        from llmasos.evaluation.comparison.judged import judge_runs
        from llmasos.evaluation.judge.model import JudgeModel, open_judge
        from llmasos.sdk import load

        asked = JudgeModel(model=judge, endpoint=judge_endpoint, api_key_variable=judge_key_variable)
        with open_judge(asked, load) as backend, out.progress():
            for one in found.tasks:
                judged += judge_runs(one, backend, criteria=judge_criteria, most=judge_samples, seed=seed)
    elif judge_endpoint is not None or judge_criteria is not None or judge_key_variable is not None:
        raise InvalidRequest(
            t("options of a judge are given, and no judge"), hint=t("Name the model that judges with --judge.")
        )

    def human() -> None:
        text.print_comparison(out, found)
        text.print_judged(out, judged)

    out.result({**text.comparison_json(found), "judged": [text.judged_json(pair) for pair in judged]}, human)
    if fail_if_worse:
        text.refuse_worse(found)


@app.command("leaderboard")
def leaderboard(
    task: Tasks = None,
    metric: Annotated[
        str | None, typer.Option("--metric", "-m", metavar="NAME", help=t("Order by this score."))
    ] = None,
    runs: Folders = None,
    json: Json = False,
) -> None:
    """Order the evaluated models of the library by their scores, with intervals.

    Only runs with the same task, samples and settings stand in one table. Intervals that overlap are no test: `llmasos
    compare` tests two models on the samples that they share.
    """
    from llmasos.evaluation.leaderboard import leaderboard as order
    from llmasos.library.store import Library

    out = Output(json=json)
    tables = order([run.evaluation for run in _all(Library(), runs)], tasks=_split(task), metric=metric)
    out.result([text.table_json(table) for table in tables], lambda: text.print_leaderboard(out, tables))


@app.command("scores")
def scores(
    name: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|FOLDER",
            help=t("A model that was evaluated, or a folder of results."),
            autocompletion=complete_library,
        ),
    ],
    task: Tasks = None,
    report: Annotated[
        list[Path] | None,
        typer.Option("--report", metavar="FILE", help=t("Write a report: .html, .md, .csv or .json; may be repeated.")),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, help=t("Most samples of each status and task in an HTML report."))
    ] = 100,
    runs: Folders = None,
    json: Json = False,
) -> None:
    """Show the scores of finished evaluations, and write reports of them.

    The HTML report is one file that needs no network, with every prompt as sent, what was answered and what was read in
    it; the Markdown report is a section for a model card.
    """
    from llmasos.evaluation.reports.write import check_report_path, write_report
    from llmasos.evaluation.runs import runs_of
    from llmasos.library.store import Library

    out = Output(json=json)
    for path in report or ():
        check_report_path(path)
    found = runs_of(name, Library(), _folders(runs))
    names = sorted({run.evaluation.task for run in found})
    wanted = _split(task)
    for one in wanted:
        if one not in names:
            raise NotFound(
                t("{model} was not evaluated on {task}", model=name, task=one),
                hint=did_you_mean(one, names) or t("There are {names}.", names=", ".join(names)),
            )
    found = [run for run in found if not wanted or run.evaluation.task in wanted]
    for path in report or ():
        write_report(found, path, samples=samples)
        out.note(t("Report: {path}", path=path))
    data = [{**run.evaluation.as_json(), "folder": str(run.folder)} for run in found]
    out.result(data, lambda: text.print_scores(out, [run.evaluation for run in found]))


def _split(given: list[str] | None) -> list[str]:
    return [name for entry in given or () for name in entry.split(",") if name]


def _folders(given: list[Path] | None) -> list[Path]:
    """Where evaluations are that are not in the library."""
    from llmasos.evaluation.runs import standard_folders
    from llmasos.settings import get_settings

    return [*(given or ()), *standard_folders(get_settings().home)]


def _all(library: Library, given: list[Path] | None) -> list[Run]:
    """All evaluations, the newest first. One that is in the library and in a folder is there once."""
    from llmasos.evaluation.runs import runs_in, runs_of_library, without_copies

    found = list(runs_of_library(library))
    for folder in _folders(given):
        if folder in (given or ()) or any(folder.rglob("evaluation.json")):
            found += runs_in(folder)
    return without_copies(found)


def _named(models: list[str], library: Library, given: list[Path] | None) -> dict[str, list[Run]]:
    """The evaluations of each model by a name that is its own."""
    from llmasos.evaluation.runs import runs_of

    found: dict[str, list[Run]] = {}
    for name in models:
        if name in found:
            raise InvalidRequest(t("{name} is named twice", name=name), hint=t("Name each model or folder once."))
        found[name] = runs_of(name, library, _folders(given))
    return found
