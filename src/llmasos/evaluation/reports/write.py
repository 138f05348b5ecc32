"""Reports as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import orjson

from llmasos.data.pipeline.shard import atomic_file
from llmasos.errors import InvalidRequest
from llmasos.evaluation.reports.rows import as_csv, as_markdown
from llmasos.evaluation.runs import Run
from llmasos.i18n import t

SUFFIXES = (".html", ".md", ".csv", ".json")


def check_report_path(path: Path) -> None:
    """Refuse a file whose kind is not known, before a model has worked for it.

    Raises:
        InvalidRequest: its name ends in none of the known ways.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidRequest(
            t("{path}: a report ends in {suffixes}", path=path, suffixes=", ".join(SUFFIXES)),
            hint=t("Choose another name."),
        )


def write_report(runs: Sequence[Run], path: Path, *, samples: int = 100) -> None:
    """Write a report of the kind that the name of the file says; it appears whole or not at all.

    Args:
        samples: most of each status and task that an HTML report shows.

    Raises:
        InvalidRequest: see :func:`check_report_path`.
        OutOfDisk: it does not fit.
    """
    check_report_path(path)
    evaluations = [run.evaluation for run in runs]
    suffix = path.suffix.lower()
    if suffix == ".html":
        from llmasos.evaluation.reports.page import page

        content = page(runs, samples=samples).encode()
    elif suffix == ".md":
        content = as_markdown(evaluations).encode()
    elif suffix == ".csv":
        content = as_csv(evaluations).encode()
    else:
        content = orjson.dumps(
            [evaluation.as_json() for evaluation in evaluations], option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(content)
