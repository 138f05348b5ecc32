"""Pieces of HTML: escaped text, tables, bars, differences. No script, no network."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from html import escape

_WORD = re.compile(r"\s+|[\u3400-\u9fff\uff00-\uffef]|[^\W\u3400-\u9fff\uff00-\uffef]+|[^\w\s]", re.UNICODE)
_MOST_PARTS = 1500
_CONTEXT = 24


def text(value: object) -> str:
    """Text for HTML."""
    return escape(str(value))


def number(value: int | float) -> str:
    """A number with separators for thousands."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}"


def share(part: float, whole: float) -> str:
    """A percentage with as many digits as make sense."""
    if not whole:
        return "-"
    percent = 100 * part / whole
    if 0 < percent < 0.01:
        return "< 0.01 %"
    return f"{percent:.0f} %" if percent in (0, 100) else f"{percent:.2f} %" if percent < 10 else f"{percent:.1f} %"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> str:
    """A table of cells that are HTML; ``right`` are the columns of numbers."""
    numeric = set(right)

    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=n' if index in numeric else ''}>{cell}</{tag}>" for index, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    head = f"<thead><tr>{cells(heads, 'th')}</tr></thead>"
    # Who has no mouse scrolls a wide table by its focus.
    return f'<div class="scroll" tabindex="0"><table>{head}<tbody>{body}</tbody></table></div>'


def bars(entries: Sequence[tuple[str, int, str]], *, label: str) -> str:
    """Horizontal bars: (name, value, what stands beside it)."""
    largest = max((value for _, value, _ in entries), default=0) or 1
    lines = "".join(
        f'<div class="bar"><span class="name">{text(name)}</span>'
        f'<span class="track"><span class="fill" style="width:{100 * value / largest:.2f}%"></span></span>'
        f'<span class="value">{text(note)}</span></div>'
        for name, value, note in entries
    )
    return f'<div class="bars" role="img" aria-label="{escape(label, quote=True)}">{lines}</div>'


def columns(entries: Sequence[tuple[str, int, str]], *, label: str, axis: str) -> str:
    """Vertical bars for a histogram: (lower edge, height, what a pointer shows)."""
    largest = max((value for _, value, _ in entries), default=0) or 1
    every = max(1, -(-len(entries) // 12))
    items = "".join(
        f'<div class="col" title="{escape(note, quote=True)}"><span class="stick" style="height:'
        f'{max(100 * value / largest, 0.6 if value else 0):.2f}%"></span>'
        f'<span class="tick">{text(name) if index % every == 0 else "&nbsp;"}</span></div>'
        for index, (name, value, note) in enumerate(entries)
    )
    return (
        f'<figure><div class="columns" role="img" aria-label="{escape(label, quote=True)}">{items}</div>'
        f"<figcaption>{text(axis)}</figcaption></figure>"
    )


def visible(content: str) -> str:
    """Text whose invisible characters can be seen."""
    shown = escape(content).replace("\t", '<i class="c">→</i>\t').replace("\u00a0", '<i class="c">⍽</i>')
    return re.sub(
        r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]",
        lambda match: f'<i class="c">U+{ord(match[0]):04X}</i>',
        shown,
    )


def difference(before: str, after: str) -> str:
    """What was taken out and put in, word by word; long stretches that are the same are shortened."""
    old, new = _WORD.findall(before), _WORD.findall(after)
    if len(old) > _MOST_PARTS or len(new) > _MOST_PARTS:
        return f"<del>{visible(before)}</del><ins>{visible(after)}</ins>"
    pieces: list[str] = []
    operations = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    for index, (operation, start, end, first, last) in enumerate(operations):
        if operation == "equal":
            pieces.append(_shortened(old[start:end], index == 0, index == len(operations) - 1))
            continue
        if end > start:
            pieces.append(f"<del>{visible(''.join(old[start:end]))}</del>")
        if last > first:
            pieces.append(f"<ins>{visible(''.join(new[first:last]))}</ins>")
    return "".join(pieces)


def _shortened(words: Sequence[str], at_start: bool, at_end: bool) -> str:
    if len(words) <= 2 * _CONTEXT + 8:
        return visible("".join(words))
    head = "" if at_start else visible("".join(words[:_CONTEXT]))
    tail = "" if at_end else visible("".join(words[-_CONTEXT:]))
    return f'{head}<span class="gap"> … </span>{tail}'
