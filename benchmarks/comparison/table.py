"""The result as text."""

from __future__ import annotations

from typing import Any

from comparison.figures import Row, ratios, reference_of
from comparison.scenarios import Scenario

_HEADS = ("", "tok/s", "lowest-highest", "decode", "ceiling", "1st p50", "p95 ms", "pause p50", "p95", "p99 ms", "MB",
          "start s", "same")  # fmt: skip


def scenario_table(scenario: Scenario, rows: list[Row], bandwidth: float | None) -> str:
    """A heading, a line for every contestant, and how we compare."""
    reference = reference_of(rows)
    cells = [list(_HEADS)] + [
        _line(row, bandwidth, reference) for row in sorted(rows, key=lambda row: -(row.rate or 0.0))
    ]
    widths = [max(len(line[index]) for line in cells) for index in range(len(_HEADS))]
    what = "prompt tokens/s" if scenario.counts == "prompt" else "output tokens/s over the whole job"
    text = [f"\n{scenario.title}  [{scenario.name}; {what}]"]
    for line in cells:
        figures = "".join(f"  {cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True))
        text.append("  " + line[0].ljust(widths[0]) + figures)
    text += [f"  ! {row.contestant.label}: {row.error}" for row in rows if row.error is not None]
    named = set()
    for ratio in ratios(rows):
        if (ratio["row"], ratio["peer"]) in named:
            continue  # the best peer of all, which is that of a class
        named.add((ratio["row"], ratio["peer"]))
        text.append(
            f"  {ratio['row']} = {ratio['median']:.2f} x {ratio['against']} ({ratio['peer']}; "
            f"{ratio['lowest']:.2f}-{ratio['highest']:.2f})"
        )
    if reference is not None:
        text.append(f"  same: % of tokens up to the first that differs from {reference.contestant.label}")
    notes = [_note(row) for row in rows if row.samples]
    return "\n".join(text + [note for note in notes if note])


def _line(row: Row, bandwidth: float | None, reference: Row | None) -> list[str]:
    if not row.samples:
        return [row.contestant.label, "failed", *[""] * (len(_HEADS) - 2)]
    rates = [value for sample in row.best for value in sample.rates(row.scenario)]
    ceiling = row.ceiling(bandwidth)

    def milliseconds(name: str, share: str) -> str:
        return _number(row.median(lambda run: run[name][share]), 1e3, 1 if name == "pause" else 0)

    return [
        row.contestant.label,
        _number(row.rate, 1, 0),
        f"{min(rates):.0f}-{max(rates):.0f}",
        _number(row.median(lambda run: run["decode_rate"]), 1, 0),
        _number(ceiling, 1, 0),
        milliseconds("first_token", "p50"),
        milliseconds("first_token", "p95"),
        milliseconds("pause", "p50"),
        milliseconds("pause", "p95"),
        milliseconds("pause", "p99"),
        _number(row.report_median("peak_memory"), 1e-6, 0),
        _number(row.report_median("start_seconds"), 1, 1),
        _number(row.agreement(reference), 100, 0),
    ]


def _number(value: float | None, factor: float, digits: int) -> str:
    return "-" if value is None else f"{value * factor:.{digits}f}"


def _note(row: Row) -> str | None:
    """What a scenario's outputs were like."""
    run: dict[str, Any] = row.runs[0]
    parts = []
    if "valid_json" in run:
        parts.append(
            f"{row.median(lambda run: run['documents_per_second']):.2f} valid documents/s, "
            f"{100 * (row.median(lambda run: run['valid_json']) or 0):.0f} % are valid"
        )
    if run.get("forced_tokens"):
        parts.append(f"{row.median(lambda run: run['forced_tokens']):.0f} tokens forced by the grammar")
    if "copied" in run:
        parts.append(f"{100 * (row.median(lambda run: run['copied']) or 0):.0f} % of the output is in the prompt")
    if run.get("proposed"):
        parts.append(f"{row.median(lambda run: run['accepted'] / max(run['proposed'], 1)):.2f} of guesses right")
    return f"  . {row.contestant.label}: {'; '.join(parts)}" if parts else None
