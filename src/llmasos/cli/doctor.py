"""`llmasos doctor`: what is installed, what the hardware offers, what is missing and how to get it."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from llmasos.cli.output import Output
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.cli.checks import Problem, Section

app = typer.Typer()


@app.command("doctor")
def doctor(
    network: Annotated[bool, typer.Option("--network", help=t("Ask each source whether it answers."))] = False,
    measure: Annotated[bool, typer.Option("--measure", help=t("Measure the memory bandwidth anew."))] = False,
    json: Annotated[bool, typer.Option("--json", help=t("Write one JSON document."))] = False,
) -> None:
    """Report what is installed, what the hardware offers, the settings in force, the library and its sources.

    What is missing or wrong comes at the end, each with the command that mends it. Credentials are masked, so the
    report can be shared. The exit code is 1 if something stops LLMasOS from working, else 0.
    """
    from llmasos.cli.checks import configuration, library, machine, packages, sources

    out = Output(json=json)
    sections = [packages.check(uses_postgresql=configuration.uses_postgresql())]
    settings = configuration.check()
    if not settings.problems or all(problem.severity == "advice" for problem in settings.problems):
        sections += [machine.check(measure=measure), settings, library.check(), sources.check(network=network)]
    else:  # the other sections need the settings
        sections.append(settings)
    problems = [problem for section in sections for problem in section.problems]
    healthy = all(problem.severity == "advice" for problem in problems)
    out.result(
        {
            "system": f"{platform.system()} {platform.release()}",
            **{section.key: section.data for section in sections},
            "problems": [asdict(problem) for problem in problems],
            "healthy": healthy,
        },
        lambda: _show(out, sections, problems),
    )
    if not healthy:
        raise typer.Exit(1)


def _show(out: Output, sections: list[Section], problems: list[Problem]) -> None:
    for section in sections:
        out.print(section.title, style="bold")
        out.facts(section.facts)
        out.print()
    if not problems:
        out.print("✓ " + t("Nothing is missing."), style="green")
        return
    out.print(t("To do"), style="bold")
    for problem in problems:
        mark, style = ("✗", "red") if problem.severity == "error" else ("•", "yellow")
        out.print(f"  {mark} {problem.message}", style=style)
        if problem.command:
            out.print(f"      {problem.command}")
