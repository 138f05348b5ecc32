"""Numbers in a text, as plain digits: ``-1234.5``, or ``3/4`` for a fraction.

Read are ``1,234.5``, ``12,34,567`` (Indian), ``-$5``, ``€ 3``, ``12%`` (as 12), ``.5``, ``1.5e3``, ``3/4``, digits of
full width, LaTeX separators (``1{,}234``, ``1\\,234``), and Chinese ``3万5千``. A hyphen is a sign only where no word,
digit or bracket stands before it, so ``10-5`` holds 10 and 5. Digits inside a word (``H2O``) are no number. English
words such as ``million`` are not read: ``3 million`` is 3.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from fractions import Fraction

from llmasos.evaluation.extraction.chinese_numerals import find_chinese_numbers

_MOST_DIGITS = 1000
"""Numbers with more digits are read as texts, so that degenerate outputs cost nothing."""

_FOLDED = str.maketrans("０１２３４５６７８９．％－−＋／￥＄", "0123456789.%--+/¥$")
_FULL_WIDTH_COMMA = re.compile(r"(?<=[０-９])，(?=[０-９]{3}(?![０-９]))")
_LATEX_SEPARATOR = re.compile(r"(?<=\d)(?:\{,\}|,?\\[,!;: ])(?=\d{3})")
_DIGITS = r"(?:\d{1,3}(?:,\d{2,3})*,\d{3}(?!\d)|\d+)"
_PLAIN = rf"(?:{_DIGITS}(?:\.\d+)?|\.\d+)"
_NUMBER = re.compile(
    rf"""
    (?P<sign>(?<![A-Za-z0-9_)\]}}%.])-(?=[$€£¥₩₹\d.])|(?<=[$€£¥₩₹])-)?
    (?:\\?[$€£¥₩₹]\s?(?P<inner>-)?)?
    (?<![A-Za-z_\d]) (?<!\d\.)
    (?P<number>{_PLAIN}(?:[eE][+-]?\d{{1,3}}(?![\w.]))?)
    (?: (?P<magnitude>[十百千万亿]+(?:{_PLAIN}[十百千万亿]+)*) | /(?P<under>\d+)(?![\d/.]) )?
    """,
    re.VERBOSE,
)
_DATE = re.compile(r"\d+(?:/\d+){2,}")
_PIECE = re.compile(rf"({_PLAIN})([十百千万亿]+)")
_ZEROS = {"十": 1, "百": 2, "千": 3, "万": 4, "亿": 8}
_EXACT = Context(prec=4 * _MOST_DIGITS, traps=[InvalidOperation, DivisionByZero, Overflow])


def last_number(text: str, *, chinese: bool = True) -> str | None:
    """The last number of a text, or ``None``."""
    found = find_numbers(text, chinese=chinese)
    return found[-1] if found else None


def first_number(text: str, *, chinese: bool = True) -> str | None:
    """The first number of a text, or ``None``."""
    found = find_numbers(text, chinese=chinese)
    return found[0] if found else None


def find_numbers(text: str, *, chinese: bool = True) -> list[str]:
    """All numbers of a text in their order.

    Args:
        chinese: read Chinese numerals if there are no digits at all. (With digits, most of them are words: 一起, 十分.)
    """
    folded = _FULL_WIDTH_COMMA.sub(",", text).translate(_FOLDED)
    folded = _LATEX_SEPARATOR.sub(",", folded)
    folded = _DATE.sub(lambda match: match[0].replace("/", " "), folded)
    found = [number for match in _NUMBER.finditer(folded) if (number := _read(match)) is not None]
    if not found and chinese:
        found = find_chinese_numbers(text)
    return found


def _read(match: re.Match[str]) -> str | None:
    number, magnitude = match["number"], match["magnitude"]
    if len(number) + len(match["under"] or "") > _MOST_DIGITS:
        return None
    if magnitude:
        value = sum((_scaled(*piece) for piece in _PIECE.findall(number + magnitude)), Decimal(0))
    else:
        value = Decimal(number.replace(",", ""))
    sign = "-" if (match["sign"] or match["inner"]) and value else ""
    if match["under"]:
        return f"{sign}{plain(value)}/{int(match['under'])}" if value == value.to_integral_value() else plain(value)
    return sign + plain(value)


def _scaled(number: str, units: str) -> Decimal:
    return Decimal(number.replace(",", "")).scaleb(sum(_ZEROS[unit] for unit in units), _EXACT)


def plain(value: Decimal) -> str:
    """A number as digits: no exponent, no zeros that say nothing."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text


def as_fraction(text: str) -> Fraction | None:
    """The exact value of a text that is one number and nothing else but a unit or a sign; ``None`` for any other."""
    found = find_numbers(text)
    if len(found) != 1:
        return None
    try:
        return Fraction(found[0])
    except (ValueError, ZeroDivisionError):
        return None
