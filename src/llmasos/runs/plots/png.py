"""Curves as a picture, drawn by matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmasos.errors import MissingDependency
from llmasos.i18n import t
from llmasos.library.disk import full_disk_as_error
from llmasos.runs.plots.figure import Panel, tick_text
from llmasos.runs.plots.html import COLOURS

#: Fonts with Chinese characters, those that systems bring first; matplotlib's own has none.
_CHINESE = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "PingFang SC", "Microsoft YaHei", "SimHei",
            "WenQuanYi Zen Hei", "WenQuanYi Micro Hei")  # fmt: skip


def write_png(path: Path, title: str, panels: Sequence[Panel]) -> list[str]:
    """Draw panels into a PNG file; what the person should know about it.

    Raises:
        MissingDependency: matplotlib is not installed.
        OutOfDisk: the disk is full.
    """
    try:
        from matplotlib import font_manager, rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter, MaxNLocator
    except ImportError as error:
        raise MissingDependency(
            t("a picture needs the package matplotlib"),
            hint=t("pip install matplotlib, or write a page with --html, which needs nothing."),
        ) from error
    columns = min(len(panels), 2)
    rows = math.ceil(len(panels) / columns)
    installed = {font.name for font in font_manager.fontManager.ttflist}
    chinese = [name for name in _CHINESE if name in installed]
    warnings = []
    if not chinese and not _all_text(title, panels).isascii() and _has_chinese(_all_text(title, panels)):
        warnings.append(t("no font with Chinese characters is installed: they are boxes in {path}", path=path))
    with rc_context({"font.family": ["DejaVu Sans", *chinese], "axes.unicode_minus": False}):
        figure = Figure(figsize=(7 * columns, 3.6 * rows + 0.5), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title, fontsize=13)
        for number, panel in enumerate(panels):
            axes = figure.add_subplot(rows, columns, number + 1)
            _draw(axes, panel)
            for axis, count in ((axes.xaxis, 7), (axes.yaxis, 6)):
                axis.set_major_formatter(FuncFormatter(lambda value, _position: tick_text(value)))
                axis.set_major_locator(MaxNLocator(nbins=count, steps=[1, 2, 5, 10]))
        with full_disk_as_error(path.absolute().parent):
            figure.savefig(path, dpi=110, format="png")
    return warnings


def _draw(axes: Any, panel: Panel) -> None:
    for line in panel.lines:
        x, y = zip(*line.points, strict=True)
        axes.plot(
            x, y, label=line.label, color=COLOURS[line.run % len(COLOURS)], linewidth=1.6,
            linestyle="--" if line.dashed else "-", marker="o" if len(x) <= 30 else None, markersize=3,
        )  # fmt: skip
    unit = f" ({panel.unit})" if panel.unit else ""
    axes.set_title(panel.title + unit, fontsize=11, loc="left")
    axes.set_xlabel(panel.x_title, fontsize=9)
    axes.set_ylim(*panel.y_range)
    axes.tick_params(labelsize=9)
    axes.grid(axis="y", alpha=0.35)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if len(panel.lines) > 1:
        axes.legend(fontsize=8, frameon=False)


def _all_text(title: str, panels: Sequence[Panel]) -> str:
    return title + "".join(
        panel.title + panel.x_title + "".join(line.label for line in panel.lines) for panel in panels
    )


def _has_chinese(text: str) -> bool:
    return any("\u4e00" <= letter <= "\u9fff" for letter in text)
