"""Two kinds of numbers in which expressions are evaluated: exact fractions, and complex numbers at a point."""

from __future__ import annotations

import cmath
import hashlib
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Protocol, TypeVar

Number = TypeVar("Number")

_MOST_BITS = 20_000
_MOST_FACTORIAL = 1000


class NotExactError(ValueError):
    """The value is no fraction, or one too long to be worked out."""


class Domain(Protocol[Number]):
    """What an expression needs to be evaluated. Division and powers may raise ``ArithmeticError``."""

    def number(self, text: str) -> Number: ...
    def letter(self, name: str) -> Number: ...
    def add(self, left: Number, right: Number) -> Number: ...
    def multiply(self, left: Number, right: Number) -> Number: ...
    def divide(self, left: Number, right: Number) -> Number: ...
    def power(self, base: Number, exponent: Number) -> Number: ...
    def call(self, name: str, argument: Number) -> Number: ...


class Exact:
    """Fractions. What is irrational or has letters raises :class:`NotExactError`."""

    def number(self, text: str) -> Fraction:
        return self._bounded(Fraction(text))

    def letter(self, name: str) -> Fraction:
        raise NotExactError(name)

    def add(self, left: Fraction, right: Fraction) -> Fraction:
        return self._bounded(left + right)

    def multiply(self, left: Fraction, right: Fraction) -> Fraction:
        return self._bounded(left * right)

    def divide(self, left: Fraction, right: Fraction) -> Fraction:
        if not right:
            raise NotExactError("division by zero")
        return self._bounded(left / right)

    def power(self, base: Fraction, exponent: Fraction) -> Fraction:
        if exponent.denominator == 2 and base >= 0:
            base, exponent = self.call("sqrt", base), exponent * 2
        if exponent.denominator != 1 or (not base and exponent <= 0):
            raise NotExactError("irrational")
        bits = max(base.numerator.bit_length(), base.denominator.bit_length()) * abs(exponent.numerator)
        if bits > _MOST_BITS:
            raise NotExactError("too long")
        return Fraction(base**exponent.numerator)

    def call(self, name: str, argument: Fraction) -> Fraction:
        if name == "abs":
            return abs(argument)
        if name == "factorial" and argument.denominator == 1 and 0 <= argument <= _MOST_FACTORIAL:
            return Fraction(math.factorial(argument.numerator))
        if name == "sqrt" and argument >= 0:
            above, below = math.isqrt(argument.numerator), math.isqrt(argument.denominator)
            if above * above == argument.numerator and below * below == argument.denominator:
                return Fraction(above, below)
        raise NotExactError(name)

    @staticmethod
    def _bounded(value: Fraction) -> Fraction:
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MOST_BITS:
            raise NotExactError("too long")
        return value


def _logarithm(value: complex) -> complex:
    return cmath.log(value)


def _factorial(value: complex) -> complex:
    if value.imag or value.real < 0:
        raise ValueError("factorial of what is no natural number")
    return complex(math.gamma(value.real + 1))


_FUNCTIONS: Mapping[str, Callable[[complex], complex]] = {
    "abs": lambda value: complex(abs(value)),
    "sqrt": cmath.sqrt,
    "exp": cmath.exp,
    "ln": _logarithm,
    "log": lambda value: _logarithm(value) / math.log(10),
    "sin": cmath.sin,
    "cos": cmath.cos,
    "tan": cmath.tan,
    "cot": lambda value: 1 / cmath.tan(value),
    "sec": lambda value: 1 / cmath.cos(value),
    "csc": lambda value: 1 / cmath.sin(value),
    "arcsin": cmath.asin,
    "arccos": cmath.acos,
    "arctan": cmath.atan,
    "sinh": cmath.sinh,
    "cosh": cmath.cosh,
    "tanh": cmath.tanh,
    "factorial": _factorial,
}

FUNCTIONS = frozenset(_FUNCTIONS) - {"factorial"}
"""Functions that an expression may name."""

_CONSTANTS = {"pi": math.pi, "e": math.e, "i": 1j}


class Complex:
    """Complex numbers; every letter but ``e``, ``i`` and ``pi`` has a value of its own at each point.

    Args:
        point: number of the point, from 0.
    """

    def __init__(self, point: int) -> None:
        self._point = point

    def number(self, text: str) -> complex:
        return complex(float(text))

    def letter(self, name: str) -> complex:
        if name in _CONSTANTS:
            return complex(_CONSTANTS[name])
        digest = hashlib.sha256(f"{self._point} {name}".encode()).digest()
        size = 0.5 + int.from_bytes(digest[:6]) / 2**48
        angle = (int.from_bytes(digest[6:12]) / 2**48 - 0.5) * math.pi
        return cmath.rect(size, angle)

    def add(self, left: complex, right: complex) -> complex:
        return left + right

    def multiply(self, left: complex, right: complex) -> complex:
        return left * right

    def divide(self, left: complex, right: complex) -> complex:
        return left / right

    def power(self, base: complex, exponent: complex) -> complex:
        if exponent.imag == 0 and base.imag == 0 and base.real < 0 and _odd_root(exponent.real):
            return complex(-((-base.real) ** exponent.real))
        return complex(base**exponent)

    def call(self, name: str, argument: complex) -> complex:
        return _FUNCTIONS[name](argument)


def _odd_root(exponent: float) -> bool:
    """Whether an exponent is 1/3, 1/5 or 1/7: roots that are real for negative numbers."""
    return any(abs(exponent * degree - 1) < 1e-12 for degree in (3, 5, 7))
