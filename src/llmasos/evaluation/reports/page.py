"""Evaluations as one HTML file: no script, no request, every text of a model escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import Literal

from llmasos import __version__
from llmasos.data.report.html import number, share, table, text
from llmasos.evaluation.records import Status
from llmasos.evaluation.reports.classes import Classes, classes_of
from llmasos.evaluation.reports.rows import figure, interval
from llmasos.evaluation.reports.samples import browser, status_name
from llmasos.evaluation.result import Evaluation, ScoreEntry
from llmasos.evaluation.runs import Run
from llmasos.i18n import language, t

# Nothing may be loaded or run, whatever a model wrote.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


Scheme = Literal["auto", "light", "dark"]
_SCHEMES: dict[Scheme, str] = {"auto": "(prefers-color-scheme: dark)", "light": "not all", "dark": "all"}
"""When the dark colours hold, as a media query."""


def page(runs: Sequence[Run], *, samples: int = 100, scheme: Scheme = "auto") -> str:
    """The page, in the language in force.

    Args:
        samples: most of each status that are shown of each task; the page says how many are left out.
        scheme: its colours; ``auto``: as the reader's system has them.
    """
    models = list(dict.fromkeys(run.evaluation.model for run in runs))
    title = t("Evaluation of {models}", models=", ".join(models))
    made = t("Made by LLMasOS {version}.", version=__version__)
    parts = [
        f'<h1>{text(title)}</h1><p class="soft">{text(made)}</p>',
        _figures(runs, many=len(models) > 1),
        *(_task(run, place, samples, many=len(models) > 1) for place, run in enumerate(runs)),
    ]
    style = "".join(
        (resources.files(package) / "style.css").read_text(encoding="utf-8")
        for package in ("llmasos.data.report", "llmasos.evaluation.reports")
    )
    style = style.replace(_SCHEMES["auto"], _SCHEMES[scheme])
    return (
        f'<!doctype html><html lang="{language()}"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY, quote=True)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>{''.join(parts)}</main></body></html>\n"
    )


def _figures(runs: Sequence[Run], *, many: bool) -> str:
    boxes = []
    for run in runs:
        for metric, entry in list(run.evaluation.scores.items())[:1]:
            name = f"{run.evaluation.task}: {metric} {interval(entry)}"
            if many:
                name = f"{run.evaluation.model}, {name}"
            boxes.append(f'<div class="figure"><b>{figure(entry.value)}</b><span>{text(name)}</span></div>')
    return f'<div class="figures">{"".join(boxes)}</div>'


def _task(run: Run, place: int, samples: int, *, many: bool) -> str:
    evaluation, records = run.evaluation, run.records
    title = f"{evaluation.task} · {evaluation.model}" if many else evaluation.task
    found = classes_of(records)
    return "".join([
        f"<section><h2>{text(title)}</h2>",
        _counts(evaluation),
        *(f'<p class="warn">{text(note)}</p>' for note in evaluation.notes),
        _scores(evaluation),
        "" if found is None else _classes(found),
        _how(evaluation),
        f"<h3>{text(t('Samples'))}</h3>",
        browser(records, name=f"task{place}", most=samples),
        "</section>",
    ])  # fmt: skip


def _counts(evaluation: Evaluation) -> str:
    total = evaluation.samples or 1
    known = [(status, evaluation.counts.get(status.value, 0)) for status in Status]
    label = ", ".join(f"{status_name(status)} {share(count, total)}" for status, count in known if count)
    bars = "".join(
        f'<span class="{status.value}" style="width:{100 * count / total:.3f}%"></span>'
        for status, count in known
        if count
    )
    badges = " ".join(
        f'<span class="badge {status.value}">{text(status_name(status))} {number(count)} ({share(count, total)})</span>'
        for status, count in known
        if count
    )
    return f'<div class="shares" role="img" aria-label="{escape(label, quote=True)}">{bars}</div><p>{badges}</p>'


def _scores(evaluation: Evaluation) -> str:
    heads = [t("Metric"), t("Score"), t("95 % interval"), "", t("Samples"), t("How it was computed")]
    rows = [
        (
            f"<b>{text(metric)}</b>" + ("" if entry.higher_is_better else f" ({text(t('less is better'))})"),
            figure(entry.value),
            text(interval(entry)),
            _range(entry),
            number(evaluation.samples if entry.samples is None else entry.samples),
            f'<span class="soft">{text("; ".join(filter(None, (entry.signature, entry.interval))))}</span>',
        )
        for metric, entry in evaluation.scores.items()
    ]
    return table([text(head) for head in heads], rows, right=(1, 2, 4))


def _range(entry: ScoreEntry) -> str:
    """A picture of score and interval, for scores between 0 and 1."""
    if entry.low is None or entry.high is None or not 0 <= entry.low <= entry.high <= 1:
        return ""
    return (
        '<span class="range">'
        f'<span class="band" style="left:{100 * entry.low:.2f}%;width:{100 * (entry.high - entry.low):.2f}%"></span>'
        f'<span class="mark" style="left:{100 * min(entry.value, 0.98):.2f}%"></span></span>'
    )


def _classes(found: Classes) -> str:
    heads = [t("Class"), t("Samples"), t("Precision"), t("Recall"), "F1"]
    rows = [
        (text(name), number(one.samples), figure(one.precision), figure(one.recall), figure(one.f1))
        for name, one in zip(found.names, found.scores, strict=True)
    ]
    each = table([text(head) for head in heads], rows, right=range(1, 5))
    unanswered = [t("none")] if found.matrix[:, -1].any() else []
    columns = len(found.names) + len(unanswered)
    matrix_rows = [
        (text(name), *(_count(count, place == column) for column, count in enumerate(counts[:columns].tolist())))
        for place, (name, counts) in enumerate(zip(found.names, found.matrix, strict=True))
    ]
    names = [t("is ↓, was given →"), *found.names, *unanswered]
    matrix = table([text(cell) for cell in names], matrix_rows, right=range(1, columns + 1))
    head = f"<h3>{text(t('Confusion matrix'))}</h3>"
    return f"<details><summary>{text(t('Classes'))}</summary>{each}{head}{matrix}</details>"


def _count(count: int, right: bool) -> str:
    return f"<b>{count}</b>" if right else str(count)


def _how(evaluation: Evaluation) -> str:
    facts = [
        (t("Model"), evaluation.model), (t("Digest of the model"), evaluation.model_digest or t("not in the library")),
        (t("Task"), f"{evaluation.task}, {t('version')} {evaluation.task_version}"),
        (t("Digest of the task"), evaluation.task_digest), (t("Digest of the samples"), evaluation.data_digest),
        (t("Licence of the data"), evaluation.license or t("unknown")),
        *((name, str(value)) for name, value in evaluation.settings.items()),
        (t("Time"), f"{evaluation.seconds:.1f} s"), (t("Finished"), evaluation.created),
        *evaluation.versions.items(),
    ]  # fmt: skip
    lines = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in facts)
    return f'<details><summary>{text(t("How it was made"))}</summary><dl class="facts">{lines}</dl></details>'
