"""``llmasos runs plot``: from the events of runs to curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos.cli import terminal
from llmasos.cli.output import Output
from llmasos.cli.runs_text import damage_text
from llmasos.i18n import t
from llmasos.library.disk import full_disk_as_error
from llmasos.runs.comparison import label_of, result_table
from llmasos.runs.events import EventFile
from llmasos.runs.plots.figure import Panel, XAxis, panels
from llmasos.runs.plots.terminal import draw
from llmasos.runs.series import Point, curves
from llmasos.runs.store import EVENTS, RunStore

if TYPE_CHECKING:
    from llmasos.runs.run import Run

_POINTS = 1200  # of a line in a file; more than its width in pixels cannot be seen
_WIDTH = 100  # columns where there is no terminal
_LOSSES = ("loss", "eval_loss")


def plot_runs(
    out: Output,
    store: RunStore,
    runs: Sequence[Run],
    *,
    metrics: Sequence[str],
    x: XAxis,
    html: Path | None,
    png: Path | None,
) -> None:
    """Draw runs.

    Raises:
        InvalidRequest: there is no such measure, or nothing to draw.
        MissingDependency: the picture needs a package that is not installed.
        OutOfDisk: a file cannot be written.
    """
    found = [(label_of(run, runs), _curves(out, store, run)) for run in runs]
    if png is not None or html is not None:
        _write(out, runs, found, panels(found, metrics=metrics, x=x, most=_POINTS), html=html, png=png)
    shown = panels(found, metrics=metrics or _default(found), x=x)
    data = {
        "html": str(html) if html is not None else None,
        "png": str(png) if png is not None else None,
        "runs": [
            {
                "id": run.id,
                "name": run.name,
                "curves": {name: _facts(line) for name, line in lines.items() if not metrics or name in metrics},
            }
            for run, (_, lines) in zip(runs, found, strict=True)
        ],
    }

    def human() -> None:
        if html is None and png is None:
            _show(out, shown)
        for path in (html, png):
            if path is not None:
                out.print(t("written: {path}", path=path))

    out.result(data, human)


def _curves(out: Output, store: RunStore, run: Run) -> dict[str, list[Point]]:
    events = EventFile(store.folder(run) / EVENTS)
    found = curves(events.read())
    if events.damaged:
        out.warn(f"{run.id}: {damage_text(events.damaged)}")
    return found


def _default(found: Sequence[tuple[str, dict[str, list[Point]]]]) -> list[str]:
    """The losses, if any run has them; else everything."""
    return [name for name in _LOSSES if any(name in points for _, points in found)]


def _facts(points: Sequence[Point]) -> list[dict[str, float | None]]:
    return [
        {"step": point.step, "value": point.value if math.isfinite(point.value) else None, "tokens": point.tokens}
        for point in points
    ]


def _show(out: Output, drawn: Sequence[Panel]) -> None:
    console = terminal.console()
    width = min(console.width, 160) if console.is_terminal else _WIDTH
    for number, panel in enumerate(drawn):
        if number:
            out.print()
        for row in draw(panel, width=width):
            for text, style in row:
                out.print(text, style=style, end="")
            out.print()


def _write(
    out: Output,
    runs: Sequence[Run],
    found: Sequence[tuple[str, dict[str, list[Point]]]],
    drawn: Sequence[Panel],
    *,
    html: Path | None,
    png: Path | None,
) -> None:
    title = t("Runs") if len(runs) > 1 else found[0][0]
    if html is not None:
        from llmasos.runs.plots.html import page

        text = page(title, drawn, result_table(runs, found))
        with full_disk_as_error(html.absolute().parent):
            html.write_text(text, encoding="utf-8")
    if png is not None:
        from llmasos.runs.plots.png import write_png

        for warning in write_png(png, title, drawn):
            out.warn(warning)
