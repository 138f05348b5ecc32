"""The table of results in README.md and README.zh-CN.md, from results.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from measures import EXAMPLES

BEGIN, END = "<!-- results -->", "<!-- /results -->"
_HEADS = {
    "README.md": ("Recipe", "Model", "Method", "Measure", "Before", "After", "Validation loss", "Time", "Tokens/s",
                  "Memory"),
    "README.zh-CN.md": ("配方", "模型", "方法", "指标", "训练前", "训练后", "验证损失", "时间", "词元/秒", "内存"),
}  # fmt: skip
_NOT_RUN = {"README.md": "not run yet", "README.zh-CN.md": "尚未运行"}


def number(value: float | None, measure: str) -> str:
    """A result as people read it: shares as percentages, BLEU with one decimal, losses with three."""
    if value is None:
        return "–"
    if measure == "accuracy":
        return f"{value:.1%}"
    return f"{value:.1f}" if measure == "BLEU" else f"{value:.3f}"


def rows(results: dict[str, Any], page: str) -> list[str]:
    """The lines of the table in the language of a page."""
    heads = _HEADS[page]
    found = ["| " + " | ".join(heads) + " |", "| --- | --- | --- | --- |" + " ---: |" * 6]
    for name, example in EXAMPLES.items():
        link = f"[{name}]({name}.yaml)"
        measure = f"{example.measure} ({example.data})"
        result = results.get(name)
        if result is None:
            found.append(f"| {link} | | | {measure} | {_NOT_RUN[page]} | | | | | |")
            continue
        losses = f"{number(result['loss_before'], 'loss')} → {number(result['loss_after'], 'loss')}"
        cells = (
            link,
            result["model"],
            result["method"],
            measure,
            number(result["before"], example.measure),
            f"**{number(result['after'], example.measure)}**",
            losses,
            f"{result['total_seconds'] / 60:.1f} min",
            f"{result['tokens_per_second']:,.0f}",
            f"{result['memory_bytes'] / 2**30:.1f} GiB",
        )
        found.append("| " + " | ".join(cells) + " |")
    return [*found, "", *_circumstances(results)] if results else found


def _circumstances(results: dict[str, Any]) -> list[str]:
    """On which machines the results came to be, and with what changes of their recipes."""
    names: dict[str, list[str]] = {}
    for name in EXAMPLES:
        if name in results:
            changes = " ".join(results[name]["changes"])
            where = results[name]["machine"] + (f"; `{changes}`" if changes else "")
            names.setdefault(where, []).append(name)
    if len(names) == 1:
        return list(names)
    return [f"- {', '.join(those)}: {where}" for where, those in names.items()]


def with_table(text: str, results: dict[str, Any], page: str) -> str:
    """A page with the table between its marks."""
    head, _, rest = text.partition(BEGIN)
    _, mark, tail = rest.partition(END)
    assert mark, f"{page} lacks {BEGIN} and {END}"
    return "\n".join([f"{head}{BEGIN}", *rows(results, page), f"{END}{tail}"])


def write_tables(folder: Path, results: dict[str, Any]) -> None:
    """Put the table into both pages."""
    for page in _HEADS:
        path = folder / page
        path.write_text(with_table(path.read_text(encoding="utf-8"), results, page), encoding="utf-8")
