"""Expressions that a recipe may hold: a small part of Python, checked before it is run and bounded in cost.

Only what is listed here exists: no attributes, no calls but of the named functions, no comprehensions, no powers, no
arithmetic on texts. The syntax tree is turned into closures; Python's own ``eval`` is never called.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import regex

from llmasos.errors import InvalidRecipe, did_you_mean
from llmasos.i18n import t

Evaluate = Callable[[Mapping[str, Any]], Any]

LONGEST = 2000
"""Characters of an expression."""
MOST_NODES = 200
PATTERN_SECONDS = 0.5
"""Time that one regular expression may take on one text."""
_LARGEST = 2**63

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, container: item in container,
    ast.NotIn: lambda item, container: item not in container,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}


class ExpressionError(Exception):
    """The expression has no value for this row: wrong types, division by zero, a pattern that takes too long."""


def _matches(text: str, pattern: str) -> bool:
    return regex.search(pattern, text, timeout=PATTERN_SECONDS) is not None


def _count_matches(text: str, pattern: str) -> int:
    total = 0
    for _ in regex.finditer(pattern, text, timeout=PATTERN_SECONDS):
        total += 1
    return total


FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "len": (len, 1, 1),
    "lower": (str.lower, 1, 1),
    "upper": (str.upper, 1, 1),
    "strip": (str.strip, 1, 1),
    "starts_with": (str.startswith, 2, 2),
    "ends_with": (str.endswith, 2, 2),
    "count": (str.count, 2, 2),
    "words": (str.split, 1, 1),
    "lines": (str.splitlines, 1, 1),
    "matches": (_matches, 2, 2),
    "count_matches": (_count_matches, 2, 2),
    "number": (float, 1, 1),
    "abs": (abs, 1, 1),
    "round": (round, 1, 2),
    "min": (min, 2, 8),
    "max": (max, 2, 8),
}
"""Functions by name, with the fewest and most arguments."""


def compile_expression(source: str, names: frozenset[str], lookups: frozenset[str]) -> Evaluate:
    """Check an expression and make a function of it that takes the values of the names.

    Args:
        names: names that may be used as values.
        lookups: names of mappings that may be read as ``metadata["key"]``; a missing key is ``None``.

    Raises:
        InvalidRecipe: something in it is not allowed; the message says what.
    """
    if len(source) > LONGEST:
        raise InvalidRecipe(
            t("the expression has {count} characters, at most {limit}", count=len(source), limit=LONGEST),
            hint=t("Split it into several filters."),
        )
    try:
        tree = ast.parse(source.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidRecipe(
            t("the expression is not valid: {problem}", problem=getattr(error, "msg", None) or str(error)),
            hint=t("An example: {example}", example='len(words(text)) >= 5 and "http" not in text'),
        ) from error
    count = sum(1 for _ in ast.walk(tree))
    if count > MOST_NODES:
        raise InvalidRecipe(
            t("the expression has {count} parts, at most {limit}", count=count, limit=MOST_NODES),
            hint=t("Split it into several filters."),
        )
    evaluate = _Compiler(names, lookups).compile(tree.body)

    def run(values: Mapping[str, Any]) -> Any:
        try:
            return evaluate(values)
        except (TypeError, ValueError, ArithmeticError, TimeoutError, regex.error) as error:
            raise ExpressionError(f"{type(error).__name__}: {error}") from error

    return run


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"arithmetic needs numbers, got {type(value).__name__}")
    if abs(value) >= _LARGEST:
        raise ValueError("a number is too large")
    return value


class _Compiler:
    def __init__(self, names: frozenset[str], lookups: frozenset[str]) -> None:
        self._names = names
        self._lookups = lookups

    def compile(self, node: ast.expr) -> Evaluate:
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            raise _not_allowed(ast.unparse(node))
        result: Evaluate = method(node)
        return result

    def _constant(self, node: ast.Constant) -> Evaluate:
        value = node.value
        if value is not None and not isinstance(value, str | bool | int | float):
            raise _not_allowed(ast.unparse(node))
        if isinstance(value, int) and abs(value) >= _LARGEST:
            raise _not_allowed(t("the number {number}", number=f"{str(value)[:20]}..."))
        return lambda values: value

    def _name(self, node: ast.Name) -> Evaluate:
        name = node.id
        if name not in self._names:
            known = sorted(self._names | self._lookups | FUNCTIONS.keys())
            raise InvalidRecipe(
                t("the expression uses {name!r}, which does not exist", name=name),
                hint=did_you_mean(name, known) or t("There are {names}.", names=", ".join(known)),
            )
        return lambda values: values[name]

    def _list(self, node: ast.List | ast.Tuple) -> Evaluate:
        items = [self.compile(item) for item in node.elts]
        return lambda values: tuple(item(values) for item in items)

    _tuple = _set = _list

    def _boolop(self, node: ast.BoolOp) -> Evaluate:
        parts = [self.compile(value) for value in node.values]
        if isinstance(node.op, ast.And):
            return lambda values: all(part(values) for part in parts)
        return lambda values: any(part(values) for part in parts)

    def _unaryop(self, node: ast.UnaryOp) -> Evaluate:
        operand = self.compile(node.operand)
        if isinstance(node.op, ast.Not):
            return lambda values: not operand(values)
        if isinstance(node.op, ast.USub):
            return lambda values: -_number(operand(values))
        raise _not_allowed(ast.unparse(node))

    def _binop(self, node: ast.BinOp) -> Evaluate:
        function = _BINARY.get(type(node.op))
        if function is None:
            raise _not_allowed(ast.unparse(node))
        left, right = self.compile(node.left), self.compile(node.right)
        return lambda values: function(_number(left(values)), _number(right(values)))

    def _compare(self, node: ast.Compare) -> Evaluate:
        first = self.compile(node.left)
        rest = [
            (_COMPARE[type(sign)], self.compile(item)) for sign, item in zip(node.ops, node.comparators, strict=True)
        ]

        def compare(values: Mapping[str, Any]) -> bool:
            left = first(values)
            for holds, item in rest:
                right = item(values)
                if not holds(left, right):
                    return False
                left = right
            return True

        return compare

    def _ifexp(self, node: ast.IfExp) -> Evaluate:
        test, then, other = self.compile(node.test), self.compile(node.body), self.compile(node.orelse)
        return lambda values: then(values) if test(values) else other(values)

    def _subscript(self, node: ast.Subscript) -> Evaluate:
        if not (isinstance(node.value, ast.Name) and node.value.id in self._lookups):
            raise _not_allowed(ast.unparse(node))
        if not (isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str)):
            raise _not_allowed(ast.unparse(node))
        table, key = node.value.id, node.slice.value
        return lambda values: values[table].get(key)

    def _call(self, node: ast.Call) -> Evaluate:
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise _not_allowed(ast.unparse(node))
        name = node.func.id
        if name not in FUNCTIONS:
            raise InvalidRecipe(
                t("the expression calls {name!r}, which does not exist", name=name),
                hint=did_you_mean(name, FUNCTIONS) or t("There are {names}.", names=", ".join(FUNCTIONS)),
            )
        function, fewest, most = FUNCTIONS[name]
        if not fewest <= len(node.args) <= most:
            raise InvalidRecipe(
                t("{name} takes {fewest} to {most} values, got {count}", name=name, fewest=fewest, most=most,
                  count=len(node.args)),
                hint=t("See docs/data-steps.md for what each function takes."),
            )  # fmt: skip
        if name in ("matches", "count_matches"):
            _check_pattern(node.args[1])
        arguments = [self.compile(item) for item in node.args]
        return lambda values: function(*(item(values) for item in arguments))


def _check_pattern(node: ast.expr) -> None:
    """A pattern is written out in the expression, so that a mistake shows before any row is read."""
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        raise _not_allowed(ast.unparse(node))
    try:
        regex.compile(node.value)
    except regex.error as error:
        raise InvalidRecipe(
            t("{pattern!r} is no regular expression: {problem}", pattern=node.value, problem=error),
            hint=t("Patterns are those of the Python package regex."),
        ) from error


def _not_allowed(what: str) -> InvalidRecipe:
    return InvalidRecipe(
        t("the expression may not contain {what}", what=what[:100]),
        hint=t(
            "Allowed are comparisons, and, or, not, in, if-else, numbers with + - * / // %, texts, and {functions}.",
            functions=", ".join(FUNCTIONS),
        ),
    )
