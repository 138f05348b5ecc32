"""Several runs beside each other: what to call each, how their recipes differ, what came of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from llmasos.i18n import t
from llmasos.runs.queue import state_text
from llmasos.runs.run import Run
from llmasos.runs.series import Point, finite
from llmasos.units import format_duration

Curves = Mapping[str, Sequence[Point]]
"""The points of each measure of a run."""

_NOT_SETTINGS = ("name", "output.name", "output.description", "data.rendering.today")


def label_of(run: Run, runs: Sequence[Run]) -> str:
    """The name, if that tells the runs apart."""
    if run.name is None or sum(other.name == run.name for other in runs) > 1:
        return run.id
    return run.name


def result_table(runs: Sequence[Run], found: Sequence[tuple[str, Curves]]) -> list[list[str]]:
    """State, steps, time and losses of each run, below a line of heads."""
    now = datetime.now(UTC)
    rows = [[t("Run"), t("Kind"), t("State"), t("Steps"), t("Time"), t("Training loss"), t("Validation loss")]]
    for run, (label, points) in zip(runs, found, strict=True):
        last = max((curve[-1].step for curve in points.values() if curve), default=0)
        seconds = run.seconds(now)
        rows.append(
            [
                label,
                run.kind,
                state_text(run.state),
                f"{last:,}",
                format_duration(seconds) if seconds is not None else "-",
                _last(points.get("loss", [])),
                _last(points.get("eval_loss", [])),
            ]
        )
    return rows


def _last(points: Sequence[Point]) -> str:
    numbers = finite(points)
    return f"{numbers[-1].value:.4f}" if numbers else "-"


def measures_after(runs: Sequence[Run]) -> list[tuple[str, list[float | None]]]:
    """The measures of the results, each with its value in every run; losses are among them."""
    results: list[Mapping[str, float]] = [run.result.get("after") or {} for run in runs]
    names = dict.fromkeys(name for result in results for name in result)
    return [(name, [result.get(name) for result in results]) for name in names]


def differing_settings(recipes: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """The keys of recipes whose values are not the same in all, with the value in each; empty: it has no such key.

    Names are no settings, nor is the day of the run.
    """
    flat = [dict(_flattened(recipe, "")) for recipe in recipes]
    keys = dict.fromkeys(key for recipe in flat for key in recipe)
    found = [(key, [recipe.get(key, "") for recipe in flat]) for key in keys if key not in _NOT_SETTINGS]
    return [(key, values) for key, values in found if len(set(values)) > 1]


def _flattened(value: Any, path: str) -> list[tuple[str, str]]:
    inner: list[tuple[str, Any]] = []
    if isinstance(value, Mapping):
        inner = [(f"{path}.{key}" if path else str(key), item) for key, item in value.items()]
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        inner = [(f"{path}.{number}", item) for number, item in enumerate(value)]
    elif value is not None:
        return [(path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))]
    return [pair for key, item in inner for pair in _flattened(item, key)]
