"""The result as an SVG picture: a panel of bars for each scenario."""

from __future__ import annotations

from html import escape

from comparison.figures import Row
from comparison.scenarios import Scenario

_COLUMNS, _PANEL, _GAP = 2, 640, 28
_BAR, _LABEL = 20, 312
_OURS, _PEER = "#0f766e", "#9ca3af"
_STYLE = """text{font:13px system-ui,sans-serif;fill:#1f2937}.t{font-weight:600;font-size:14px}.s{fill:#6b7280}
.h{font-weight:700;font-size:18px}rect.bg{fill:#fff}@media(prefers-color-scheme:dark){text{fill:#e5e7eb}
.s{fill:#9ca3af}rect.bg{fill:#111827}}"""


def draw(title: str, subtitle: str, results: list[tuple[Scenario, list[Row]]]) -> str:
    """The whole picture."""
    parts: list[str] = []
    heights = [0.0] * _COLUMNS
    for scenario, rows in results:
        shown = sorted((row for row in rows if row.rate), key=lambda row: -(row.rate or 0.0))
        if not shown:
            continue
        column = heights.index(min(heights))
        left, top = _GAP + column * (_PANEL + _GAP), 84 + heights[column]
        parts += _panel(scenario, shown, left, top)
        heights[column] += 34 + len(shown) * _BAR + _GAP
    width, height = _GAP + _COLUMNS * (_PANEL + _GAP), 84 + max(heights)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" width="{width}" role="img">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
        f'<rect class="bg" width="{width}" height="{height:.0f}"/>'
        f'<text class="h" x="{_GAP}" y="34">{escape(title)}</text>'
        f'<text class="s" x="{_GAP}" y="58">{escape(subtitle)}</text>'
    )
    return head + "".join(parts) + "</svg>\n"


def _panel(scenario: Scenario, rows: list[Row], left: float, top: float) -> list[str]:
    unit = "prompt tokens/s" if scenario.counts == "prompt" else "output tokens/s"
    parts = [f'<text class="t" x="{left}" y="{top + 14}">{escape(scenario.title)} <tspan class="s" '
             f'font-weight="400">{unit}</tspan></text>']  # fmt: skip
    longest = max(row.rate or 0.0 for row in rows)
    room = _PANEL - _LABEL - 60
    for index, row in enumerate(rows):
        rate = row.rate or 0.0
        y = top + 26 + index * _BAR
        colour = _OURS if row.contestant.engine.ours else _PEER
        length = max(rate / longest * room, 1)
        parts.append(
            f'<text x="{left + _LABEL - 8}" y="{y + 13}" text-anchor="end">{escape(row.contestant.label)}</text>'
            f'<rect x="{left + _LABEL}" y="{y + 2}" width="{length:.1f}" height="{_BAR - 5}" rx="2" fill="{colour}"/>'
            f'<text x="{left + _LABEL + length + 6:.1f}" y="{y + 13}">{rate:,.0f}</text>'
        )
    return parts
