"""The human view of evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmasos.cli.output import Column, Output
from llmasos.errors import InvalidRequest, did_you_mean
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.evaluation.evaluate import Evaluated

_SHARE_OF_TROUBLE = 0.05
"""Share of samples without an answer from which on a warning is due."""


def print_tasks(out: Output) -> None:
    """The built-in tasks."""
    from llmasos.evaluation.tasks.find import builtin_tasks

    tasks = [found.task for found in builtin_tasks()]
    rows = [
        {
            "name": task.name, "kind": task.kind, "language": task.language, "title": task.title,
            "metrics": [use.name for use in task.metric_uses], "license": task.data.license,
            "homepage": task.data.homepage, "citation": task.data.citation,
        }
        for task in tasks
    ]  # fmt: skip
    columns: list[str | Column] = [
        Column(t("Task"), style="bold"), t("Kind"), t("Language"), t("What it measures"), t("Metrics"), t("Licence"),
    ]  # fmt: skip
    out.result(
        rows,
        lambda: out.table(
            columns,
            [
                (task.name, task.kind, task.language, task.title, ", ".join(use.name for use in task.metric_uses),
                 task.data.license)
                for task in tasks
            ],
        ),
    )  # fmt: skip


def print_keys(out: Output, kind: str) -> None:
    """Every key of a kind of task.

    Raises:
        InvalidRequest: there is no such kind.
    """
    from llmasos.evaluation.task import TASKS
    from llmasos.recipe.explain import explain

    if kind not in TASKS:
        raise InvalidRequest(
            t("there is no kind of task {kind!r}", kind=kind),
            hint=did_you_mean(kind, TASKS) or t("Kinds are: {kinds}.", kinds=", ".join(TASKS)),
        )
    rows = list(explain(TASKS[kind]))
    columns: list[str | Column] = [Column(t("Key"), style="bold"), t("Default"), t("Meaning")]
    out.result(
        [{"key": row.path, "default": row.default, "description": row.description} for row in rows],
        lambda: out.table(columns, [(row.path, _visible(row.default), row.description) for row in rows]),
    )


def _visible(default: str) -> str:
    """A default that can be seen, also one that is a blank or a line feed."""
    return default if default == default.strip() else repr(default)


def print_prompts(out: Output, shown: Mapping[str, Sequence[str]]) -> None:
    """Prompts as sent, each under a line with its number."""
    for name, prompts in shown.items():
        for number, prompt in enumerate(prompts, start=1):
            out.print(t("--- {task}, prompt {number} ---", task=name, number=number), style="bold")
            out.print(prompt)


def as_json(item: Evaluated) -> dict[str, Any]:
    """An evaluation with the places of its files."""
    return {
        **item.evaluation.as_json(),
        "folder": None if item.folder is None else str(item.folder),
        "version": item.version,
    }


def print_results(out: Output, done: Sequence[Evaluated]) -> None:
    """Scores of all tasks, what became of the samples, and what must be known of it."""
    from llmasos.evaluation.records import Status
    from llmasos.evaluation.reports.rows import figure, interval
    from llmasos.evaluation.reports.samples import status_name

    out.table(
        [
            Column(t("Task"), style="bold"), t("Metric"), Column(t("Score"), right=True),
            Column(t("Interval"), right=True), Column(t("Samples"), right=True),
        ],
        [
            (item.evaluation.task, name, figure(entry.value), interval(entry), item.evaluation.samples)
            for item in done
            for name, entry in item.evaluation.scores.items()
        ],
    )  # fmt: skip
    out.print()
    for item in done:
        evaluation = item.evaluation
        counts = ", ".join(f"{status_name(Status(name))} {count}" for name, count in evaluation.counts.items())
        out.print(f"{evaluation.task}: {counts}")
        lost = {name: count for name, count in evaluation.counts.items() if name in ("unparsed", "truncated", "error")}
        for name, count in lost.items():
            share = count / evaluation.samples
            if share >= _SHARE_OF_TROUBLE:
                status = status_name(Status(name))
                out.warn(t("{task}: {share:.0%} {status}", task=evaluation.task, share=share, status=status))
        for note in evaluation.notes:
            out.note(f"{evaluation.task}: {note}")
        if item.folder is not None:
            out.note(t("{task}: samples in {folder}", task=evaluation.task, folder=item.folder))
