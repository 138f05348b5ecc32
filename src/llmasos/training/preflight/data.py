"""Checks of the data: files, columns, kinds of rows, labels; and a sample of rows to render."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from llmasos.data.row import Label, Row
from llmasos.data.sources.config import Source
from llmasos.data.sources.plan import Plan
from llmasos.data.sources.planning import make_plan
from llmasos.data.sources.rows import planned_rows
from llmasos.errors import InvalidRequest, did_you_mean
from llmasos.i18n import t
from llmasos.training.feeding import check_kind
from llmasos.training.preflight.report import Report
from llmasos.training.recipe.kinds import ClassifyRecipe, TrainingRecipe
from llmasos.training.rows import DataRows, RowSet, nothing_readable, read_rows

FIRST_ROWS = 200
"""Rows of each source that are looked at before anything else."""
SAMPLE = 500
"""Training rows that are rendered; also half as many of validation."""
LARGE = 256 * 2**20
"""Bytes of files from which on only the first rows are read unless the check is to be complete."""
_IMBALANCE = 20


@dataclass(frozen=True)
class FoundData:
    """The data of a recipe.

    Attributes:
        rows: those of the run; of large files the first of each source, and then not ``counted``.
        labels: training rows of each class, in the order in which classes appear.
    """

    rows: DataRows
    counted: bool
    labels: Counter[str]


def check_data(recipe: TrainingRecipe, report: Report, *, full: bool) -> FoundData | None:
    """Look at every source by itself, then at all rows together; ``None`` if they cannot be used.

    Args:
        full: read all rows also of large files.
    """
    before = len(report.errors)
    sizes = 0
    for key, sources in (("train", recipe.data.train), ("validation", recipe.data.validation)):
        for number, source in enumerate(sources):
            with report.catching("data"):
                sizes += _check_source(recipe, source, f"data.{key}.{number}")
    if len(report.errors) > before:
        return None
    counted = full or sizes <= LARGE
    found: FoundData | None = None
    with report.catching("data"):
        if counted:
            rows = read_rows(recipe.data, seed=recipe.seed)
        else:
            rows = _first_rows(recipe)
            report.note(
                "data",
                t("the files are large: only the first {count} rows of each source were read; --full reads all",
                  count=FIRST_ROWS),
            )  # fmt: skip
        found = FoundData(rows, counted, _labels(recipe, rows, report, counted=counted))
        _note_losses(rows, report)
    return found


def _check_source(recipe: TrainingRecipe, source: Source, key: str) -> int:
    """Find the files of a source and read its first rows; returns the bytes of the files."""
    plan = make_plan([source], Path(), shard_bytes=1 << 40)
    (only,) = plan.sources
    check_kind(recipe, only.layout.kind)
    first: str | None = None
    readable = False
    for item in islice(planned_rows(plan), FIRST_ROWS):
        if isinstance(item, Row):
            readable = True
            break
        first = first or f"{item.origin}: {item.rejection.reason}: {item.rejection.detail}"
    if not readable:
        if first is not None:
            raise nothing_readable(plan, only.name, first)
        raise InvalidRequest(
            t("{key}: there is no row in {name}", key=key, name=only.name), hint=t("Check the path of the source.")
        )
    return sum(file.size for file in only.files)


def _first_rows(recipe: TrainingRecipe) -> DataRows:
    def rows_of(sources: Sequence[Source], role: str) -> tuple[Plan, RowSet]:
        plans = [make_plan([source], Path(), shard_bytes=1 << 40) for source in sources]
        kept: list[Row] = []
        for plan in plans:
            kept += [row for row in islice(planned_rows(plan), FIRST_ROWS) if isinstance(row, Row)]
        whole = make_plan(sources, Path(), shard_bytes=1 << 40)
        return whole, RowSet(lambda: iter(kept), len(kept), f"first-{role}", {}, {})

    train_plan, train = rows_of(recipe.data.train, "train")
    kinds = {source.layout.kind for source in train_plan.sources}
    if recipe.data.validation:
        plan, held = rows_of(recipe.data.validation, "validation")
        return DataRows(train, held, (train_plan, plan), kinds.pop())
    if recipe.data.validation_share:
        listed = list(train.rows())
        size = max(round(len(listed) * recipe.data.validation_share), 1)
        first, rest = listed[:size], listed[size:] or listed
        return DataRows(
            replace(train, rows=lambda: iter(rest), count=len(rest)),
            RowSet(lambda: iter(first), len(first), "first-validation", {}, {}),
            (train_plan,),
            kinds.pop(),
        )
    return DataRows(train, None, (train_plan,), kinds.pop())


def _note_losses(rows: DataRows, report: Report) -> None:
    for name, part in ((t("training"), rows.train), (t("validation"), rows.validation)):
        if part is not None and part.unreadable:
            total = sum(part.unreadable.values())
            reasons = ", ".join(f"{reason}: {count}" for reason, count in part.unreadable.items())
            report.warn("data", t("{set}: {count} record(s) could not be read ({reasons})", set=name, count=total,
                                  reasons=reasons))  # fmt: skip


# --- labels ----------------------------------------------------------------------------------------------------------


def _labels(recipe: TrainingRecipe, rows: DataRows, report: Report, *, counted: bool) -> Counter[str]:
    if not isinstance(recipe, ClassifyRecipe):
        return Counter()
    train = _count_labels(rows.train)
    held = _count_labels(rows.validation) if rows.validation is not None else Counter[str]()
    known = recipe.labels or tuple(train)
    if not counted and not recipe.labels:  # the classes are those of rows that were not looked at
        return train
    for name, found in ((t("training"), train), (t("validation"), held)):
        for label, count in found.items():
            if label not in known:
                report.error(
                    "data",
                    InvalidRequest(
                        t("{set}: {count} row(s) have the label {label!r}, which is not among the classes",
                          set=name, count=count, label=label),
                        hint=did_you_mean(label, known)
                        or t("The classes are those of the key labels, else of the training rows: {labels}.",
                             labels=", ".join(known)),
                    ),
                )  # fmt: skip
    missing = [label for label in known if not train[label]]
    if missing and counted:
        report.error(
            "data",
            InvalidRequest(
                t("no training row has the label {labels}", labels=", ".join(repr(name) for name in missing)),
                hint=t("Take it out of the key labels, or add rows that have it."),
            ),
        )
    if train and counted:
        most, least = train.most_common()[0], train.most_common()[-1]
        if most[1] > _IMBALANCE * least[1] and recipe.class_weights == "none":
            report.warn(
                "data",
                t("the class {most!r} has {many} rows and {least!r} has {few}: rare classes will be guessed seldom",
                  most=most[0], many=f"{most[1]:,}", least=least[0], few=f"{least[1]:,}"),
                t("Write class_weights: balanced, and judge by f1_macro."),
            )  # fmt: skip
    return train


def _count_labels(rows: RowSet) -> Counter[str]:
    return Counter(row.sample.label for row in rows.rows() if isinstance(row.sample, Label))


# --- a sample --------------------------------------------------------------------------------------------------------


def sample_of(rows: DataRows, *, seed: int, size: int = SAMPLE) -> DataRows:
    """Some rows by chance, in their order, with at least one of each class; all if there are not more."""
    held = rows.validation
    return replace(
        rows,
        train=_sampled(rows.train, size, seed),
        validation=None if held is None else _sampled(held, max(size // 2, 1), seed),
    )


def _sampled(part: RowSet, size: int, seed: int) -> RowSet:
    if part.count <= size:
        return part
    wanted = set(np.random.default_rng(seed).choice(part.count, size, replace=False).tolist())
    kept: list[Row] = []
    seen: set[str] = set()
    for number, row in enumerate(part.rows()):
        new = isinstance(row.sample, Label) and row.sample.label not in seen
        if number in wanted or new:
            kept.append(row)
        if isinstance(row.sample, Label):
            seen.add(row.sample.label)
    again: Callable[[], Iterator[Row]] = lambda: iter(kept)  # noqa: E731
    return RowSet(again, len(kept), f"{part.digest}-sample-{seed}-{size}", {}, {})
