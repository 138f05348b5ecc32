"""Every comparison says yes to what is the same and no to what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmasos.evaluation.extraction.matching import Match, matches, normalize_text

MATCHES: list[Match] = ["exact", "normalized", "numeric", "math", "choice"]
NASTY = st.text(alphabet="x1^/{}[]()\\,=+-!|_ .frcsqtpi答&", max_size=40)


@pytest.mark.parametrize(
    ("match", "answer", "reference", "same"),
    [
        ("exact", " yes ", "yes", True),
        ("exact", "Yes", "yes", False),
        ("normalized", "Paris.", "paris", True),
        ("normalized", "“Ｐａｒｉｓ，  France”！", "paris france", True),
        ("normalized", "-5", "5", False),
        ("normalized", "1.5", "15", False),
        ("normalized", "...", "?", False),
        ("numeric", "$1,200.00", "1200", True),
        ("numeric", "0.75", "3/4", True),
        ("numeric", "12%", "12", True),
        ("numeric", "三百", "300", True),
        ("numeric", "0.1", "0.10000000000000001", False),
        ("numeric", "1 and 2", "2", False),
        ("numeric", "none", "0", False),
        ("choice", "(B) Paris", "B", True),
        ("choice", "B", "C", False),
        ("choice", "none", "none of these", False),
    ],
)
def test_comparisons(match: Match, answer: str, reference: str, same: bool) -> None:
    assert matches(match, answer, reference) is same
    assert matches(match, reference, answer) is same


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        (r"\frac{1}{2}", "0.5"),
        (r"\frac12", "1/2"),
        (r"-\frac{3}{4}", r"\frac{-3}{4}"),
        (r"\dfrac{\sqrt{2}}{2}", r"\frac{1}{\sqrt 2}"),
        ("x^2+2x+1", "(x+1)^2"),
        (r"2\sqrt{3}", "sqrt(12)"),
        (r"\sqrt[3]{8}", "2"),
        (r"1\frac{1}{2}", "3/2"),
        (r"\log_2 8", "3"),
        (r"\sin^2 x + \cos^2 x", "1"),
        (r"e^{i\pi}", "-1"),
        ("|-3|", "3"),
        ("5!", "120"),
        ("3π", r"3\pi"),
        ("x_1 + x_{2}", "x_2 + x_{1}"),
        ("x = 5", "5"),
        (r"5\text{ cm}", "5"),
        (r"90^\circ", "90"),
        (r"50\%", "50"),
        (r"\$10,000", "10000"),
        (r"11,\! 000", "11000"),
        (r"\text{Evelyn}", "evelyn"),
        (r"$\boxed{4}$.", "4"),
        (r"\{1,2\}", r"\{2, 1\}"),
        ("1,2", "2 and 1"),
        (r"1\pm\sqrt{2}", r"1+\sqrt2, 1-\sqrt2"),
        (r"\left( 1, \frac{1}{2} \right)", "(1,0.5)"),
        (r"(-\infty,2)\cup(3,\infty)", r"(-\infty, 2) \cup (3, \infty)"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix} 1 & 2 \\ 3 & 4.0 \end{pmatrix}"),
        ("2516_8", "2516_{8}"),
        (r"x \leq 3", r"x\le 3"),
        ("2 y = x", "2y=x"),
    ],
)
def test_the_same_expressions(answer: str, reference: str) -> None:
    assert matches("math", answer, reference)
    assert matches("math", reference, answer)


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("1/3", "0.333"),
        ("2^{100}", "2^{100}+1"),
        ("9^9^9^9", "1"),
        ("(1,2)", "(2,1)"),
        ("[0,1)", "[0,1]"),
        ("(1,234)", "1234"),
        ("3, 4", "3, 4, 5"),
        ("3, 3", "3, 4"),
        ("2516_8", "2516"),
        ("x < 3", "x > 3"),
        ("a", "b"),
        ("x", "x^2"),
        ("1/0", "2/0"),
        ("no solution", "5"),
        ("", "5"),
        ("", "{"),
        ("{", "}"),
        ("__import__('os').abort()", "0"),
        (r"\begin{pmatrix}1&2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        ("(" * 100 + "1" + ")" * 100, "1"),
        ("1" * 5000, "1"),
    ],
)
def test_different_expressions(answer: str, reference: str) -> None:
    assert not matches("math", answer, reference)
    assert not matches("math", reference, answer)


@pytest.mark.parametrize("match", MATCHES)
@given(st.one_of(st.text(max_size=60), NASTY), st.one_of(st.text(max_size=60), NASTY))
def test_nothing_raises_and_order_does_not_matter(match: Match, one: str, other: str) -> None:
    assert matches(match, one, other) is matches(match, other, one)
    assert matches(match, one, one)


@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 9))
def test_expanding_a_product_keeps_it(a: int, b: int, c: int) -> None:
    assert matches("math", f"({c}x+({a}))(x+({b}))", f"{c}x^2+({a + b * c})x+({a * b})")
    assert not matches("math", f"({c}x+({a}))(x+({b}))", f"{c}x^2+({a + b * c})x+({a * b + 1})")


@given(st.text(max_size=60))
def test_normal_texts_stay_as_they_are(text: str) -> None:
    assert normalize_text(normalize_text(text)) == normalize_text(text)
