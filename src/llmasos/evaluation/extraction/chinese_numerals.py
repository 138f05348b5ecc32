"""Chinese numerals: 三百二十一, 一万二, 二〇二四, 负三点五, 百分之十二, 三分之一, and the forms of banks (壹仟贰佰)."""

from __future__ import annotations

import re
from fractions import Fraction

_DIGITS = {char: value for value, chars in enumerate(
    ("零〇", "一壹", "二贰两貳兩", "三叁參", "四肆", "五伍", "六陆陸", "七柒", "八捌", "九玖")
) for char in chars}  # fmt: skip
_UNITS = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1000, "仟": 1000}
_MYRIADS = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}

_DIGIT = "[" + "".join(_DIGITS) + "]"
_NUMERAL = "[" + "".join((*_DIGITS, *_UNITS, *_MYRIADS)) + "]+"
_NUMBER = re.compile(
    rf"(?P<sign>[负負])?(?:(?P<under>{_NUMERAL})分之(?P<over>{_NUMERAL}(?:[点點]{_DIGIT}+)?)"
    rf"|(?P<whole>{_NUMERAL})(?:[点點](?P<decimals>{_DIGIT}+))?)"
)
_NO_NUMBERS = re.compile(
    r"一(?:样|起|共|定|些|般|直|旦|切|致|下|边|方面|步|同|律|再|向|种|道|并)"
    r"|(?<!分之)(?<=[第统唯单逐进每万之同])一|十分(?!之)|千万(?=[别不要注])|万一|百姓|五官|四周|三角|两者|二者|七上八下|乱七八糟"
)
"""Words that are written with numerals and name no number."""


def find_chinese_numbers(text: str) -> list[str]:
    """Chinese numbers of a text in their order, as digits; percentages without their sign, fractions as ``1/3``."""
    words = [match.span() for match in _NO_NUMBERS.finditer(text)]
    found = []
    for match in _NUMBER.finditer(text):
        if any(start < match.end() and match.start() < end for start, end in words):
            continue
        value = _value(match)
        if value is not None:
            found.append(("-" if match["sign"] and value not in ("0", "0/1") else "") + value)
    return found


def _value(match: re.Match[str]) -> str | None:
    if match["under"] is None:
        return _decimal(match["whole"], match["decimals"])
    whole, _, decimals = match["over"].replace("點", "点").partition("点")
    over = _decimal(whole, decimals or None)
    if match["under"] in ("百", "一百"):
        return over
    under = parse_chinese_integer(match["under"])
    if over is None or not under:
        return None
    value = Fraction(over) / under
    return f"{value.numerator}/{value.denominator}"


def _decimal(whole: str, decimals: str | None) -> str | None:
    value = parse_chinese_integer(whole)
    if value is None:
        return None
    behind = "".join(str(_DIGITS[char]) for char in decimals or "").rstrip("0")
    return f"{value}.{behind}" if behind else str(value)


def parse_chinese_integer(numeral: str) -> int | None:
    """The value of a numeral without sign and decimals; ``None`` if it is none, or has more than 40 characters."""
    if not numeral or len(numeral) > 40 or any(char not in _DIGITS | _UNITS | _MYRIADS for char in numeral):
        return None
    if all(char in _DIGITS for char in numeral):
        return int("".join(str(_DIGITS[char]) for char in numeral))
    total, section, digit, myriad, unit = 0, 0, None, 0, 1
    for place, char in enumerate(numeral):
        if char in _DIGITS:
            if digit:  # two digits side by side among units
                return None
            digit = _DIGITS[char]
            if digit == 0:
                unit = 1
        elif char in _UNITS:
            unit = _UNITS[char]
            if digit is None and not (unit == 10 or place == 0):
                return None
            section += (1 if digit is None else digit) * unit
            digit = None
        else:
            size = _MYRIADS[char]
            section += digit or 0
            if size > myriad and total:
                total = (total + section) * size
            else:
                total += (section or (1 if place == 0 else 0)) * size
            section, digit, myriad, unit = 0, None, size, size
    if digit and unit >= 100:  # 一百五 is 150 and 三万五 is 35000
        digit *= unit // 10
    return total + section + (digit or 0)
