"""Scores as rows: what tables, CSV and leaderboards show."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence

from llmasos.evaluation.result import Evaluation, ScoreEntry
from llmasos.i18n import t

COLUMNS = (
    "model", "model_digest", "task", "task_version", "metric", "value", "low", "high", "interval", "samples",
    "higher_is_better", "signature", "unparsed", "truncated", "error", "created", "task_digest", "data_digest",
    "settings_digest",
)  # fmt: skip
"""Of the CSV file."""


def figure(value: float) -> str:
    """A score with the digits that count: ``0.7250``, ``31.42``, ``n/a`` for one that is not defined."""
    if not math.isfinite(value):
        return "n/a" if math.isnan(value) else str(value)
    size = abs(value)
    return f"{value:.4f}" if size < 10 else f"{value:.2f}" if size < 10_000 else f"{value:.3e}"


def interval(entry: ScoreEntry) -> str:
    """The ends of an interval, or nothing."""
    return "" if entry.low is None or entry.high is None else f"[{figure(entry.low)}, {figure(entry.high)}]"


def as_csv(evaluations: Iterable[Evaluation]) -> str:
    """One row per score, with a head; for spreadsheets and data frames."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for evaluation in evaluations:
        for metric, entry in evaluation.scores.items():
            writer.writerow({
                "model": _inert(evaluation.model), "model_digest": evaluation.model_digest, "task": evaluation.task,
                "task_version": evaluation.task_version, "metric": _inert(metric), "value": entry.value,
                "low": entry.low, "high": entry.high, "interval": entry.interval,
                "samples": evaluation.samples if entry.samples is None else entry.samples,
                "higher_is_better": str(entry.higher_is_better).lower(), "signature": entry.signature,
                **{status: evaluation.counts.get(status, 0) for status in ("unparsed", "truncated", "error")},
                "created": evaluation.created, "task_digest": evaluation.task_digest,
                "data_digest": evaluation.data_digest, "settings_digest": evaluation.settings_digest,
            })  # fmt: skip
    return text.getvalue()


def _inert(text: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def as_markdown(evaluations: Sequence[Evaluation]) -> str:
    """A section for a model card: a table of scores with intervals, then how they were made."""
    heads = [t("Task"), t("Metric"), t("Score"), t("95 % interval"), t("Samples")]
    lines = [f"## {t('Evaluation')}", "", f"| {' | '.join(heads)} |", "| --- | --- | ---: | --- | ---: |"]
    for evaluation in evaluations:
        for metric, entry in evaluation.scores.items():
            samples = evaluation.samples if entry.samples is None else entry.samples
            cells = (evaluation.task, metric, figure(entry.value), interval(entry), str(samples))
            lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    lines.append("")
    for evaluation in evaluations:
        lines.append(f"- {_cell(evaluation.task)}: {_cell(_how(evaluation))}")
        lines += [f"  - {_cell(note)}" for note in evaluation.notes]
    return "\n".join(lines) + "\n"


def _how(evaluation: Evaluation) -> str:
    counts = ", ".join(f"{status} {count}" for status, count in evaluation.counts.items())
    settings = ", ".join(f"{name} {value}" for name, value in evaluation.settings.items())
    signatures = "; ".join(
        f"{name} `{entry.signature}`" for name, entry in evaluation.scores.items() if entry.signature
    )
    version = evaluation.versions.get("llmasos", "?")
    return "; ".join(part for part in (counts, settings, signatures, t("LLMasOS {version}", version=version)) if part)


def _cell(text: str) -> str:
    """Text that stays in its cell and is no markup."""
    escaped = text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return " ".join(escaped.split())
