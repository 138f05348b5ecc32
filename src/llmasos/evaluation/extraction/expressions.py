r"""Whether two mathematical expressions are the same, without running anything that an answer says.

Both are parsed by a grammar of arithmetic, roots, powers, common functions and letters. Two that have no letters and
are rational are compared exactly. Any others are the same if their values agree to 1e-9 at four fixed points, at which
every letter has a complex value; that two different expressions agree at such points by chance is next to impossible
(Schwartz, 1980; Zippel, 1979), while rules of rewriting miss many that are the same.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

from llmasos.evaluation.extraction.arithmetic import Complex, Exact, NotExactError
from llmasos.evaluation.extraction.grammar import NotAnExpressionError, parse
from llmasos.evaluation.extraction.latex import split_outside, tidy

_MOST_CHARACTERS = 600
_POINTS = 4
_TOLERANCE = 1e-9


def same_expression(answer: str, reference: str) -> bool:
    r"""Whether an answer and a reference, both plain or LaTeX, say the same.

    What does not change a value is taken out first (:func:`llmasos.evaluation.extraction.latex.tidy`), so per cent
    signs, degrees, units and ``x =`` count for nothing. Then: lists without brackets and ``{sets}`` are the same in any
    order, ``a \pm b`` is the two values; tuples, intervals, matrices and unions must have the same brackets and the
    same parts in order; equations and inequalities the same sides in order; anything else is compared as an expression,
    and where it is none as a text without case and blanks.
    """
    if max(len(answer), len(reference)) > _MOST_CHARACTERS:
        return _bare(answer) == _bare(reference)
    return _same(tidy(answer), tidy(reference), depth=0)


def _bare(text: str) -> str:
    return re.sub(r"[\s{}]|\\(?=[a-zA-Z])", "", text).casefold()


_MATRIX = re.compile(
    r"\\begin\{(?P<kind>[a-z]?matrix|array)\}(?:\{[lcr|]*\})?(?P<body>.*)\\end\{(?P=kind)\}", re.DOTALL
)
_RELATION = re.compile(r"\\le(?![a-zA-Z])|\\ge(?![a-zA-Z])|\\ne(?![a-zA-Z])|<=|>=|≤|≥|≠|=|<|>")
_SAME_RELATION = {"<=": "\\le", "≤": "\\le", ">=": "\\ge", "≥": "\\ge", "≠": "\\ne"}


def _same(left: str, right: str, depth: int) -> bool:
    left, right = left.strip(), right.strip()
    bare = _bare(left)
    if bare == _bare(right):
        return bool(bare)  # braces alone say nothing
    if not left or not right or depth > 4:
        return False
    parts, others = _parts(left), _parts(right)
    if parts[0] != others[0]:
        return False
    kind, mine, theirs = parts[0], parts[1], others[1]
    if kind == "value":
        return _same_value(left, right)
    if len(mine) != len(theirs):
        return False
    if kind in ("list", "{}"):
        return _same_in_any_order(mine, theirs, depth + 1)
    return all(_same(one, other, depth + 1) for one, other in zip(mine, theirs, strict=True))


def _same_in_any_order(mine: list[str], theirs: list[str], depth: int) -> bool:
    left = list(theirs)
    for one in mine:
        other = next((candidate for candidate in left if _same(one, candidate, depth)), None)
        if other is None:
            return False
        left.remove(other)
    return True


def _parts(text: str) -> tuple[str, list[str]]:
    """What an answer is made of: (kind, parts); ``value`` is a single expression."""
    if matrix := _MATRIX.fullmatch(text):
        rows = [row.split("&") for row in re.split(r"\\\\", matrix["body"].strip()) if row.strip()]
        return f"matrix {[len(row) for row in rows]}", [cell for row in rows for cell in row]
    pieces = [piece for part in split_outside(text, "\\cup") for piece in split_outside(part, "∪")]
    if len(pieces) > 1:
        return "union", pieces
    pieces = list(split_outside(text.replace("，", ","), ","))
    if len(pieces) == 1:
        pieces = re.split(r"\s+(?:and|or|和|或)\s+", text)
    if len(pieces) > 1:
        return "list", [piece for piece in pieces if piece.strip()]
    bare = text.replace("\\{", "{").replace("\\}", "}")
    brackets = bare[0] + bare[-1]
    if brackets in ("()", "[]", "(]", "[)", "{}") and len(bare) > 1:
        inside = list(split_outside(bare[1:-1], ","))
        if len(inside) > 1 or (brackets == "{}" and text.startswith("\\{")):
            return brackets, inside
    relations = _RELATION.findall(text)
    if relations:
        return "relation " + " ".join(_SAME_RELATION.get(item, item) for item in relations), _RELATION.split(text)
    if text.count("\\pm") + text.count("±") == 1:
        return "list", [re.sub(r"\\pm(?![a-zA-Z])|±", sign, text) for sign in "+-"]
    return "value", [text]


def _same_value(left: str, right: str) -> bool:
    try:
        one, other = parse(left), parse(right)
    except NotAnExpressionError:
        return False
    try:
        exact: tuple[Fraction, Fraction] = (one.value(Exact()), other.value(Exact()))
    except NotExactError:
        pass
    else:
        return exact[0] == exact[1]
    for point in range(_POINTS):
        try:
            a, b = one.value(Complex(point)), other.value(Complex(point))
        except (ArithmeticError, ValueError):
            return False
        size = max(abs(a), abs(b), 1e-12)
        if not math.isfinite(size) or abs(a - b) > _TOLERANCE * size:
            return False
    return True
