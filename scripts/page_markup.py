"""Markdown that all generated pages have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

NOTE = "<!-- Written by scripts/reference_pages.py from the code; do not edit. -->"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "| " + " | ".join("---" for _ in heads) + " |"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)
