"""What `llmasos recipe check` and `llmasos train --dry-run` show of a training recipe."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from llmasos.cli.output import Output
from llmasos.i18n import t
from llmasos.training.preflight.text import sections

if TYPE_CHECKING:
    from llmasos.library.store import Library
    from llmasos.training.preflight.report import Finding, Report
    from llmasos.training.recipe.kinds import TrainingRecipe

_EXIT_CODES = {"not_found": 3, "integrity_error": 4, "unavailable": 5, "out_of_memory": 7, "out_of_disk": 7}


def check_training(recipe: TrainingRecipe, file: Path, out: Output, *, full: bool, library: Library) -> None:
    """Check a recipe whose paths are absolute and show everything that was found.

    Raises:
        typer.Exit: something stands in the way; the code is that of the first error.
    """
    from llmasos.training.launch import require_packages

    require_packages()
    from llmasos.training.preflight.check import check

    with out.progress():
        report = check(recipe, library=library, full=full)
    resolved = recipe.model_dump(mode="json", exclude_none=True)
    out.result(
        {"valid": report.valid, "recipe": resolved, "report": _as_json(report)}, lambda: _show(out, report, file)
    )
    if not report.valid:
        raise typer.Exit(_EXIT_CODES.get(report.errors[0].code, 2))


def _as_json(report: Report) -> dict[str, Any]:
    found = asdict(report)
    if report.memory is not None:
        found["memory"]["total"] = report.memory.total
    if report.disk is not None:
        found["disk"]["total"] = report.disk.total
    return found


def _show(out: Output, report: Report, file: Path) -> None:
    for title, pairs in sections(report):
        out.print(title, style="bold")
        out.facts(pairs, width=18)
    styles = {"error": "red", "warning": "yellow", "note": "dim"}
    for level in ("note", "warning", "error"):
        for finding in report.findings:
            if finding.level == level:
                _show_finding(out, finding, styles[level])
    out.print()
    if report.valid:
        out.print(t("{path} can be trained", path=file), style="green")
    else:
        out.print(t("{path}: {count} problem(s) to solve first", path=file, count=len(report.errors)), style="red")


def _show_finding(out: Output, finding: Finding, style: str) -> None:
    text = {
        "error": t("error: {message}", message=finding.message),
        "warning": t("warning: {message}", message=finding.message),
        "note": t("note: {message}", message=finding.message),
    }
    out.print(text[finding.level], style=style)
    if finding.hint:
        out.print(f"  {finding.hint}", style="dim")
