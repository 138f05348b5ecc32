"""LaTeX in answers: boxes, and one way of writing what can be written in several."""

from __future__ import annotations

import re
from collections.abc import Iterator

_BOX = re.compile(r"\\(?:boxed|fbox)\s*")


def last_boxed(text: str) -> str | None:
    r"""What the last ``\boxed{...}`` holds, ``\boxed 5`` holds 5. ``None`` without a whole one."""
    found = None
    for match in _BOX.finditer(text):
        start = match.end()
        if start < len(text) and text[start] == "{":
            end = closing_brace(text, start)
            if end is not None:
                found = text[start + 1 : end]
        elif bare := re.match(r"[^\s$\\{}]+", text[start:]):
            found = bare[0].rstrip(".,;")
    return found


def closing_brace(text: str, start: int) -> int | None:
    """Place of the brace that closes the one at ``start``; escaped ones do not count."""
    depth, place = 0, start
    while place < len(text):
        char = text[place]
        if char == "\\":
            place += 2
            continue
        depth += (char == "{") - (char == "}")
        if depth == 0:
            return place
        place += 1
    return None


_REWRITES: tuple[tuple[re.Pattern[str], str], ...] = tuple((re.compile(pattern), new) for pattern, new in (
    (r"\\(?:left|right|big|Big|bigg|Bigg|displaystyle|mathstrut)(?![a-zA-Z])[lr]?", ""),
    (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
    (r",\\!\s*|\{,\}", ","),
    (r"(?<!\\)\\(?:(?:quad|qquad)(?![a-zA-Z])|[,!;:> ])|~", " "),
    (r"\^\s*\{?\s*\\circ\s*\}?|\\degree(?![a-zA-Z])|°", ""),
    (r"\\?[%$€£¥]|％", ""),
    (r"\\(?:leq|leqslant)(?![a-zA-Z])", r"\\le"),
    (r"\\(?:geq|geqslant)(?![a-zA-Z])", r"\\ge"),
    (r"\\neq(?![a-zA-Z])", r"\\ne"),
    (r"\\(?:text|textbf|textit|mathrm|mathbf|mathit|mbox|operatorname)\s*\{([^{}]*)\}", r" \1 "),
    (r"\\emptyset(?![a-zA-Z])", r"\\varnothing"),
    (r"[−–]", "-"),
    (r"(?<![\d.,(\[{])([1-9]\d{0,2}),(\d{3})(?:,(\d{3}))?(?:,(\d{3}))?(?![\d,)\]}])", r"\1\2\3\4"),
))  # fmt: skip
_UNIT = re.compile(
    r"(?<=[\d})])\s*(?:square |cubic |sq\.? ?)?(?:degrees?|(?:centi|milli|kilo)?met(?:er|re)s?|inch(?:es)?|feet|foot|"
    r"yards?|miles?|units?|dollars?|cents?|hours?|minutes?|seconds?|days?|weeks?|months?|years?|cm|mm|km|kg|ft|mph|"
    r"pounds?|grams?|percent|points?|people|ways|平方米|厘米|千米|米|元|个|度|小时|分钟|天)(?:\s*\^\s*\{?[23]\}?)?\.?\s*$",
    re.IGNORECASE,
)
_NAMED = re.compile(r"^\s*(?:[A-Za-z]|[a-z]\([a-z]\))\s*(?:=|\\in(?![a-zA-Z]))\s*(?=[^=]*$)")


def tidy(expression: str) -> str:
    r"""An expression without what does not change its value.

    Taken out or made one: ``$``, ``\left``, ``\right``, spaces of LaTeX, ``\dfrac``, per cent, degree and currency
    signs, ``\text``, separators of thousands, a unit at the end, ``x =`` at the beginning, a full stop at the end.
    """
    text = expression.strip()
    boxed = last_boxed(text)
    if boxed is not None:
        text = boxed.strip()
    text = re.sub(r"\\[()\[\]]|\$\$", " ", text)
    for pattern, new in _REWRITES:
        text = pattern.sub(new, text)
    text = text.strip().rstrip(".").rstrip()
    text = _UNIT.sub("", text)
    if text.count("=") <= 1:
        text = _NAMED.sub("", text)
    return re.sub(r"\s+", " ", text).strip()


def split_outside(text: str, separator: str) -> Iterator[str]:
    """The pieces of a text between separators that stand outside all brackets."""
    depth, start, place = 0, 0, 0
    while place < len(text):
        if depth == 0 and text.startswith(separator, place):
            yield text[start:place]
            place += len(separator)
            start = place
            continue
        char = text[place]
        depth = max(depth + (char in "([{") - (char in ")]}"), 0)
        place += 1
    yield text[start:]
