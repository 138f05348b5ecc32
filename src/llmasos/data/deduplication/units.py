"""What is compared: a whole row, or parts of a document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from llmasos.data.row import Row, Text

Unit = Literal["row", "paragraph", "line", "sentence"]

Span = tuple[int, int]

SHORTEST_PART = 8
"""Default of the option of this name; a recipe that was written out with all defaults must stay valid."""

_BETWEEN_PARAGRAPHS = re.compile(r"\n[^\S\n]*\n\s*")
_LINE = re.compile(r"[^\n]+\n?|\n")


def check_compared(unit: Unit, places: Sequence[str] | None, shortest_part: int) -> None:
    """Refuse options that would have no effect.

    Raises:
        ValueError: places with parts, or a shortest part without them.
    """
    if unit != "row" and places is not None:
        raise ValueError(f"places is for unit: row only; with unit: {unit} the parts of documents are compared")
    if unit == "row" and shortest_part != SHORTEST_PART:
        raise ValueError("shortest_part is for unit: paragraph, line or sentence only")


def compared_text(row: Row, places: Sequence[str] | None) -> str:
    """The texts of a row that are compared, joined by newlines."""
    if places is None:
        return row.text()
    return "\n".join(text for place, text in row.texts() if place in places)


def has_parts(row: Row) -> bool:
    """Whether parts may be cut out of this row: only of documents, for a conversation without a line is another one."""
    return isinstance(row.sample, Text)


def part_spans(text: str, unit: Unit) -> list[Span]:
    """Where the parts of a document stand; each with the white space after it, so that all together are the text."""
    if unit == "sentence":
        from llmasos.data.linguistics.sentences import sentence_spans

        starts = [start for start, _ in sentence_spans(text)]
        if not starts:
            return [(0, len(text))] if text else []
        starts[0] = 0
        return list(zip(starts, [*starts[1:], len(text)], strict=True))
    if unit == "line":
        return [match.span() for match in _LINE.finditer(text)]
    starts = [0, *(match.end() for match in _BETWEEN_PARAGRAPHS.finditer(text))]
    return [span for span in zip(starts, [*starts[1:], len(text)], strict=True) if span[0] < span[1]]


def without_spans(text: str, removed: Iterable[Span]) -> str:
    """The text without these parts (rising, not overlapping), and without white space left over at the ends.

    A line or paragraph that ended with a removed part still ends there.
    """
    kept = ""
    last = 0
    for start, end in removed:
        kept += text[last:start]
        part = text[start:end]
        space = part[len(part.rstrip()) :]
        if "\n" in space and kept and not kept.endswith("\n"):
            kept = kept.rstrip() + space
        last = end
    return (kept + text[last:]).strip()
