"""Numbers in English, Chinese and LaTeX."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos.evaluation.extraction.chinese_numerals import find_chinese_numbers, parse_chinese_integer
from llmasos.evaluation.extraction.numbers import as_fraction, find_numbers, first_number, last_number


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1,234.50 dollars", ["1234.5"]),
        ("12,34,567 rupees", ["1234567"]),
        ("1,2,3", ["1", "2", "3"]),
        ("-5 and $-6 and -$7 and 10-8", ["-5", "-6", "-7", "10", "8"]),
        ("(-3) = −4", ["-3", "-4"]),
        ("答案是-7。", ["-7"]),
        ("- 7 is a list item", ["7"]),
        ("50%, ３４％", ["50", "34"]),
        ("１，２３４．５", ["1234.5"]),
        ("3，400", ["3", "400"]),
        ("3万5千元", ["35000"]),
        ("1.5亿人", ["150000000"]),
        ("3/4 cup", ["3/4"]),
        ("-3/4", ["-3/4"]),
        ("on 2024/05/06", ["2024", "5", "6"]),
        ("H2O, x1 and 5kg", ["5"]),
        (r"1{,}234 and 12\,345", ["1234", "12345"]),
        (".5 and 1.5e3 and 2E-2", ["0.5", "1500", "0.02"]),
        ("18.", ["18"]),
        ("007 and -0 and 0.30", ["7", "0", "0.3"]),
        ("none", []),
        ("9" * 2000, []),
    ],
)
def test_numbers_in_texts(text: str, numbers: list[str]) -> None:
    assert find_numbers(text) == numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("三百二十一", ["321"]),
        ("一共是一万二", ["12000"]),
        ("二〇二四年", ["2024"]),
        ("负三点五", ["-3.5"]),
        ("百分之十二点五", ["12.5"]),
        ("三分之一", ["1/3"]),
        ("壹仟贰佰", ["1200"]),
        ("十和二十和十五", ["10", "20", "15"]),
        ("一百零五，两千零三，一百五", ["105", "2003", "150"]),
        ("一亿二千三百万四千", ["123004000"]),
        ("三万亿", ["3000000000000"]),
        ("他们一起走，第一次十分高兴", []),
        ("三四百", []),
    ],
)
def test_chinese_numerals(text: str, numbers: list[str]) -> None:
    assert find_chinese_numbers(text) == numbers


def test_digits_come_before_chinese_numerals() -> None:
    assert find_numbers("一天有 24 小时") == ["24"]
    assert find_numbers("三百", chinese=False) == []


def test_the_first_and_the_last() -> None:
    assert (first_number("1 2 3"), last_number("1 2 3")) == ("1", "3")
    assert (first_number(""), last_number("")) == (None, None)


def numeral(value: int) -> str:
    """A number below 10^8 as it is written in Chinese."""
    if value >= 10_000:
        above, below = divmod(value, 10_000)
        joint = "零" if 0 < below < 1000 else ""
        return numeral(above) + "万" + (joint + numeral(below) if below else "")
    text, gap = "", False
    for unit, sign in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, value = divmod(value, unit)
        if digit:
            text += ("零" if gap and text else "") + "零一二三四五六七八九"[digit] + sign
            gap = False
        else:
            gap = True
    return text or "零"


@given(st.integers(0, 10**8 - 1))
def test_what_is_written_in_chinese_is_read(value: int) -> None:
    assert parse_chinese_integer(numeral(value)) == value


@given(
    st.decimals(-(10**12), 10**12, places=3),
    st.booleans(),
    st.sampled_from(["{}", "the answer is {}.", "共${}元", "{}%"]),
)
def test_what_is_written_in_digits_is_read(value: object, separators: bool, frame: str) -> None:
    text = f"{value:,}" if separators else f"{value}"
    assert as_fraction(frame.format(text)) == Fraction(text.replace(",", ""))
