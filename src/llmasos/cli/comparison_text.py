"""The human view of comparisons, leaderboards and scores, and their JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from llmasos.cli.output import Column, Output
from llmasos.errors import ScoreOutOfBounds
from llmasos.evaluation.comparison.wording import finding_text, interval_text, p_value_text, smallest_text
from llmasos.evaluation.reports.rows import figure, interval
from llmasos.i18n import t

if TYPE_CHECKING:
    from llmasos.evaluation.comparison.judged import JudgedPair
    from llmasos.evaluation.comparison.result import Change, Comparison, PairTest, TaskComparison
    from llmasos.evaluation.leaderboard import Table
    from llmasos.evaluation.records import Record
    from llmasos.evaluation.result import Evaluation

_LINE = 300
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def print_scores(out: Output, evaluations: Sequence[Evaluation]) -> None:
    """Scores of all tasks."""
    out.table(
        [
            Column(t("Task"), style="bold"), t("Metric"), Column(t("Score"), right=True), t("95 % interval"),
            Column(t("Samples"), right=True), t("Status of the samples"),
        ],
        [
            (
                evaluation.task, metric, figure(entry.value), interval(entry),
                evaluation.samples if entry.samples is None else entry.samples,
                ", ".join(f"{status} {count}" for status, count in evaluation.counts.items()),
            )
            for evaluation in evaluations
            for metric, entry in evaluation.scores.items()
        ],
    )  # fmt: skip


def print_leaderboard(out: Output, tables: Sequence[Table]) -> None:
    """A table for each task and way of making runs."""
    if not tables:
        out.note(t("No model was evaluated yet. `llmasos eval MODEL --task NAME` does that."))
        return
    for place, table in enumerate(tables):
        if place:
            out.print()
        about = ", ".join(filter(None, (t("{count} samples", count=table.samples), table.settings)))
        out.table(
            [
                Column("#", right=True), Column(t("Model"), style="bold"), Column(table.metric, right=True),
                t("95 % interval"), t("Interval overlaps the first's"), t("Evaluated"),
            ],
            [
                (
                    one.rank, f"{one.model} ({one.variant})" if one.variant else one.model,
                    figure(one.entry.value), interval(one.entry),
                    "" if one.rank == 1 else t("yes") if one.tied else t("no"), one.evaluation.created[:10],
                )
                for one in table.places
            ],
            title=f"{table.task} ({about})",
        )  # fmt: skip


def table_json(table: Table) -> dict[str, Any]:
    """A table of `leaderboard --json`."""
    return {
        "task": table.task,
        "metric": table.metric,
        "settings": table.settings,
        "samples": table.samples,
        "places": [
            {
                "rank": one.rank, "model": one.model, "variant": one.variant, "model_digest": one.model_digest,
                "value": _number(one.entry.value), "low": one.entry.low, "high": one.entry.high,
                "overlaps_first": one.tied, "created": one.evaluation.created,
            }
            for one in table.places
        ],
    }  # fmt: skip


def print_comparison(out: Output, found: Comparison) -> None:
    """Scores of all models, differences with what is known of them, and samples."""
    for place, task in enumerate(found.tasks):
        if place:
            out.print()
        _print_task(out, task, found)
    count = sum(test.p_value is not None for test in found.tests)
    out.print()
    out.note(
        t("p-values are corrected for {count} tests (Holm); a difference counts as shown below {alpha}. The smallest "
          "difference to find is what would be found with a probability of 80 % at this number of samples.",
          count=count, alpha=f"{found.options.alpha:g}")
    )  # fmt: skip


def _print_task(out: Output, task: TaskComparison, found: Comparison) -> None:
    out.table(
        [t("Model"), *(Column(metric, right=True) for metric in task.scores)],
        [
            (name, *(" ".join(filter(None, (figure(entries[place].value), interval(entries[place]))))
                     for entries in task.scores.values()))
            for place, name in enumerate(task.models)
        ],
        title=t("{task}, {count} samples that all models answered", task=task.task, count=task.samples),
    )  # fmt: skip
    for name, count in task.left_out.items():
        out.warn(t("{model}: {count} samples left out, for another model lacks them", model=name, count=count))
    for note in task.notes:
        out.warn(note)
    out.print()
    out.table(
        [
            t("Compared"), t("Metric"), Column(t("Difference"), right=True), t("Interval"), Column("p", right=True),
            t("Finding"), Column(t("Smallest to find"), right=True), t("Samples better / worse / same"),
        ],
        [
            (
                f"{test.first} → {test.second}", test.metric, f"{test.difference:+.4f}", interval_text(test),
                p_value_text(test.adjusted), finding_text(test, found.options.alpha),
                smallest_text(test),
                f"{test.better} / {test.worse} / {test.same}",
            )
            for test in task.tests
        ],
    )  # fmt: skip
    for test in task.tests:
        _print_changes(out, task, test, test.regressions, t("{metric}, where {second} is worse than {first}:",
                       metric=test.metric, second=test.second, first=test.first))  # fmt: skip
        _print_changes(out, task, test, test.improvements, t("{metric}, where {second} is better than {first}:",
                       metric=test.metric, second=test.second, first=test.first))  # fmt: skip
    if task.hardest:
        out.print()
        out.print(t("Hardest for all:"), style="bold")
        for change in task.hardest:
            out.print(f"  #{change.index} {change.sample_id}  {figure(change.first)} … {figure(change.second)}")


def _print_changes(out: Output, task: TaskComparison, test: PairTest, changes: Sequence[Change], title: str) -> None:
    if not changes:
        return
    first, second = (task.runs[task.models.index(name)] for name in (test.first, test.second))
    out.print()
    out.print(title, style="bold")
    for change in changes:
        out.print(f"  #{change.index} {change.sample_id}  {figure(change.first)} → {figure(change.second)}")
        known = _record(first.records, change)
        if known is not None and known.references:
            out.print(f"    {t('Expected')}: {_line(' | '.join(known.references))}")
        for name, run in ((test.first, first), (test.second, second)):
            record = _record(run.records, change)
            if record is not None:
                out.print(f"    {name} ({record.status.value}): {_line(record.output or record.parsed or '')}")


def _record(records: Sequence[Record], change: Change) -> Record | None:
    """The record of a sample: of equal rows, the one at the same place."""
    found = [record for record in records if record.sample_id == change.sample_id]
    return next((record for record in found if record.index == change.index), found[0] if found else None)


def _line(content: str) -> str:
    """Text of a model on one line. A terminal would obey some of its invisible characters, so these are shown."""
    flat = _INVISIBLE.sub(lambda match: f"[U+{ord(match[0]):04X}]", " ".join(content.split()))
    return flat if len(flat) <= _LINE else t("{text} … ({count} characters)", text=flat[:_LINE], count=len(content))


def refuse_worse(found: Comparison) -> None:
    """Fail if a model is shown to be worse than what it is compared with.

    Raises:
        ScoreOutOfBounds: with all that are.
    """
    worse = [test for test in found.tests if test.finding(found.options.alpha) == "worse"]
    if worse:
        raise ScoreOutOfBounds(
            "\n".join(
                t("{task}: {second} is worse than {first}: {metric} {difference}", task=test.task, second=test.second,
                  first=test.first, metric=test.metric, difference=f"{test.difference:+.4f}")
                for test in worse
            ),
            hint=t("The samples above show where."),
        )  # fmt: skip


def comparison_json(found: Comparison) -> dict[str, Any]:
    """What `compare --json` writes."""
    return {
        "alpha": found.options.alpha,
        "correction": "holm",
        "tests": sum(test.p_value is not None for test in found.tests),
        "tasks": [
            {
                "task": task.task,
                "models": list(task.models),
                "samples": task.samples,
                "left_out": dict(task.left_out),
                "notes": list(task.notes),
                "scores": {
                    metric: [{**asdict(entry), "value": _number(entry.value)} for entry in entries]
                    for metric, entries in task.scores.items()
                },
                "tests": [_test_json(test, found.options.alpha) for test in task.tests],
                "hardest": [asdict(change) for change in task.hardest],
            }
            for task in found.tasks
        ],
    }


def print_judged(out: Output, pairs: Sequence[JudgedPair]) -> None:
    """What a judge says, and how far it can be trusted."""
    if not pairs:
        return
    out.print()
    out.table(
        [
            t("Judge"), t("Compared"), t("Wins of each, ties"), t("Win rate of the second"), Column("p", right=True),
            t("Orders agree"), "Cohen κ", t("Contradictions for the first place"), t("Unreadable"),
        ],
        [
            (
                one.judge, f"{one.task}: {one.first} → {one.second}",
                f"{one.first_wins} : {one.second_wins}, {one.ties}",
                figure(one.win_rate)
                + ("" if one.interval is None else f" [{figure(one.interval.low)}, {figure(one.interval.high)}]"),
                p_value_text(one.p_value), figure(one.consistency), figure(one.kappa), figure(one.favours_first_place),
                t("{count} of {total} verdicts", count=one.unparsed, total=2 * one.pairs),
            )
            for one in pairs
        ],
    )  # fmt: skip
    for one in pairs:
        if one.pairs < one.of:
            out.note(t("{task}: {count} of {total} samples were judged", task=one.task, count=one.pairs, total=one.of))


def judged_json(pair: JudgedPair) -> dict[str, Any]:
    """A judged pair of `compare --json`."""
    return dict(_plain(asdict(pair)))


def _test_json(test: PairTest, alpha: float) -> dict[str, Any]:
    return {**dict(_plain(asdict(test))), "finding": test.finding(alpha)}


def _plain(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        yield name, _number(value) if isinstance(value, float) else value


def _number(value: float) -> float | None:
    """JSON has no word for what is no number."""
    return value if math.isfinite(value) else None
