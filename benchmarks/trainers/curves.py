"""Loss curves of several contenders on top of each other, as an SVG picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_WIDTH, _HEIGHT, _GAP = 560, 260, 56
_COLOURS = ("#0f766e", "#dc2626", "#2563eb", "#d97706", "#7c3aed", "#6b7280")
_STYLE = """text{font:13px system-ui,sans-serif;fill:#1f2937}.t{font-weight:600;font-size:14px}.s{fill:#6b7280}
rect.bg{fill:#fff}path{fill:none;stroke-width:1.6}line{stroke:#d1d5db}@media(prefers-color-scheme:dark){text{fill:#e5e7eb}
.s{fill:#9ca3af}rect.bg{fill:#111827}line{stroke:#374151}}"""


def draw(panels: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """A panel for each task: the loss of each step before its update."""
    width, height = _WIDTH + 2 * _GAP + 220, len(panels) * (_HEIGHT + 2 * _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">'
        f'<title>Loss by step</title><style>{_STYLE}</style><rect class="bg" width="{width}" height="{height}"/>'
    ]
    for number, (title, rows) in enumerate(panels.items()):
        parts += _panel(title, rows, number * (_HEIGHT + 2 * _GAP) + _GAP)
    return "".join(parts) + "</svg>\n"


def _panel(title: str, rows: Sequence[Mapping[str, Any]], top: float) -> list[str]:
    losses = [loss for row in rows for loss in row["losses"]]
    low, high = min(losses), max(losses)
    room = max(high - low, 1e-9)
    steps = max(len(row["losses"]) for row in rows)

    def place(step: int, loss: float) -> str:
        return f"{_GAP + step / max(steps - 1, 1) * _WIDTH:.1f} {top + (high - loss) / room * _HEIGHT:.1f}"

    parts = [f'<text class="t" x="{_GAP}" y="{top - 16}">{escape(title)}: loss by step</text>']
    for value in (low, (low + high) / 2, high):
        y = top + (high - value) / room * _HEIGHT
        parts.append(f'<line x1="{_GAP}" x2="{_GAP + _WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="s" x="{_GAP - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.2f}</text>')
    for index, row in enumerate(rows):
        colour = _COLOURS[index % len(_COLOURS)]
        path = " L".join(place(step, loss) for step, loss in enumerate(row["losses"]))
        y = top + 14 + index * 20
        parts.append(f'<path d="M{path}" stroke="{colour}"/>')
        parts.append(f'<text x="{_GAP + _WIDTH + 16}" y="{y}" style="fill:{colour}">{escape(row["label"])}</text>')
    return parts
