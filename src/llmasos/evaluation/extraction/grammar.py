r"""A grammar of expressions, plain (``2*sqrt(3)/x^2``) or LaTeX (``\frac{2\sqrt{3}}{x^2}``).

A side by side is a product (``2x``, ``3\pi``), a number before a fraction of numbers a mixed one (``1\frac{1}{2}``).
Names of several letters are functions, ``pi``, Greek letters, or products of their letters.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from llmasos.evaluation.extraction.arithmetic import FUNCTIONS, Domain, Number

_MOST_DEPTH = 40
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?|\.\d+)|(?P<command>\\[a-zA-Z]+)|(?P<name>[a-zA-Z]+)|(?P<power>\*\*)"
    r"|(?P<mark>[-+*/^!(){}\[\]|_×÷·√πθ]))"
)
_GREEK = frozenset(
    {
        *("alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "theta", "lambda", "mu", "nu", "xi", "rho"),
        *("sigma", "tau", "phi", "varphi", "chi", "psi", "omega", "Delta", "Theta", "Phi", "Omega", "infty"),
    }
)
_MARKS = {"×": "*", "·": "*", "÷": "/", "√": "\\sqrt", "π": "\\pi", "θ": "\\theta"}
_COMMANDS = {"\\cdot": "*", "\\times": "*", "\\div": "/", "\\lvert": "|", "\\rvert": "|", "\\ast": "*"}
_CLOSES = {"(": ")", "[": "]", "{": "}"}


class NotAnExpressionError(ValueError):
    """The text does not follow the grammar."""


class Node(ABC):
    """Part of an expression."""

    @abstractmethod
    def value(self, domain: Domain[Number]) -> Number:
        """Its value in a domain; raises what the domain raises."""


@dataclass(frozen=True)
class Constant(Node):
    digits: str

    def value(self, domain: Domain[Number]) -> Number:
        return domain.number(self.digits)


@dataclass(frozen=True)
class Letter(Node):
    name: str

    def value(self, domain: Domain[Number]) -> Number:
        return domain.letter(self.name)


@dataclass(frozen=True)
class Call(Node):
    name: str
    argument: Node

    def value(self, domain: Domain[Number]) -> Number:
        return domain.call(self.name, self.argument.value(domain))


@dataclass(frozen=True)
class Operation(Node):
    sign: str
    left: Node
    right: Node

    def value(self, domain: Domain[Number]) -> Number:
        left, right = self.left.value(domain), self.right.value(domain)
        operations = {"+": domain.add, "*": domain.multiply, "/": domain.divide, "^": domain.power}
        return operations[self.sign](left, right)


def parse(text: str) -> Node:
    """The expression that a text is.

    Raises:
        NotAnExpressionError: it is none, or nested too deeply.
    """
    parser = _Parser(list(_tokens(text)))
    node = parser.sum()
    if parser.next is not None:
        raise NotAnExpressionError(f"{parser.next!r} is left over")
    return node


def _tokens(text: str) -> Iterator[str]:
    place, end = 0, len(text.rstrip())
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None:
            raise NotAnExpressionError(f"{text[place]!r} is not understood")
        place = match.end()
        if match["power"]:
            yield "^"
        elif match["name"]:
            yield from _names(match["name"])
        elif match["command"]:
            yield _COMMANDS.get(match["command"], match["command"])
        else:
            piece = match["number"] or match["mark"]
            yield _MARKS.get(piece, piece)


def _names(name: str) -> Iterator[str]:
    """A plain word: a function or Greek letter as the command of LaTeX, else its letters."""
    if name in FUNCTIONS or name in _GREEK or name == "pi":
        yield "\\" + name
    elif len(name) <= 3:
        yield from name
    else:
        raise NotAnExpressionError(f"{name!r} is a word")


class _Parser:
    """Recursive descent over tokens."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._place = 0
        self._depth = 0
        self._bars = 0

    @property
    def next(self) -> str | None:
        return self._tokens[self._place] if self._place < len(self._tokens) else None

    def _take(self) -> str:
        piece = self.next
        if piece is None:
            raise NotAnExpressionError("it ends too early")
        self._place += 1
        return piece

    def _expect(self, piece: str) -> None:
        if self._take() != piece:
            raise NotAnExpressionError(f"{piece!r} is missing")

    def sum(self) -> Node:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise NotAnExpressionError("it is nested too deeply")
        sign = self._take() if self.next in ("+", "-") else "+"
        node = self._product()
        if sign == "-":
            node = Operation("*", Constant("-1"), node)
        while self.next in ("+", "-"):
            sign, right = self._take(), self._product()
            node = Operation("+", node, right if sign == "+" else Operation("*", Constant("-1"), right))
        self._depth -= 1
        return node

    def _product(self) -> Node:
        node = self._factor()
        while (piece := self.next) is not None:
            if piece in ("*", "/"):
                self._take()
                node = Operation(piece, node, self._signed_factor())
            elif piece == "\\frac" and isinstance(node, Constant) and self._numbers_follow():
                node = Operation("+", node, self._factor())
            elif piece in ("+", "-", "^", "!", "_", ")", "]", "}") or (piece == "|" and self._bars):
                break
            elif isinstance(node, Constant) and piece[0].isdigit():
                raise NotAnExpressionError("two numbers stand side by side")
            else:
                node = Operation("*", node, self._factor())
        return node

    def _numbers_follow(self) -> bool:
        """Whether the fraction that comes is one of two whole numbers."""
        following = "".join(self._tokens[self._place + 1 : self._place + 7])
        return re.match(r"\{\d+\}\{\d+\}", following) is not None

    def _signed_factor(self) -> Node:
        if self.next == "-":
            self._take()
            return Operation("*", Constant("-1"), self._factor())
        return self._factor()

    def _factor(self) -> Node:
        node = self._atom()
        while self.next in ("^", "!"):
            node = Call("factorial", node) if self._take() == "!" else Operation("^", node, self._argument())
        return node

    def _argument(self) -> Node:
        """What stands behind ``^`` or a command: a group, a sign and an atom, or an atom."""
        if self.next == "-":
            self._take()
            return Operation("*", Constant("-1"), self._atom())
        return self._atom()

    def _group(self, opened: str) -> Node:
        bars, self._bars = self._bars, 0
        node = self.sum()
        self._expect(_CLOSES[opened])
        self._bars = bars
        return node

    def _digit(self) -> Node:
        """An argument of ``\\frac``: a group, or one digit or letter (``\\frac12``)."""
        piece = self.next
        if piece is not None and piece.isdigit() and len(piece) > 1:
            self._tokens[self._place : self._place + 1] = [piece[0], piece[1:]]
        return self._atom()

    def _atom(self) -> Node:
        piece = self._take()
        if piece in _CLOSES:
            return self._group(piece)
        if piece[0].isdigit() or piece[0] == ".":
            return Constant(piece)
        if piece == "|":
            self._bars += 1
            node = self.sum()
            self._bars -= 1
            self._expect("|")
            return Call("abs", node)
        if piece == "\\frac":
            return Operation("/", self._digit(), self._digit())
        if piece == "\\sqrt":
            return self._root()
        if piece.startswith("\\"):
            return self._named(piece[1:])
        if piece.isalpha():
            return self._letter(piece)
        raise NotAnExpressionError(f"{piece!r} is out of place")

    def _root(self) -> Node:
        if self.next != "[":
            return Call("sqrt", self._digit())
        self._take()
        degree = self._group("[")
        return Operation("^", self._digit(), Operation("/", Constant("1"), degree))

    def _named(self, name: str) -> Node:
        if name == "pi":
            return Letter("pi")
        if name in _GREEK:
            return self._letter(name)
        if name not in FUNCTIONS:
            raise NotAnExpressionError(f"\\{name} is not understood")
        base = exponent = None
        while self.next in ("_", "^"):
            if self._take() == "_":
                base = self._digit()
            else:
                exponent = self._argument()
        node: Node = Call(name, self._factor() if self.next in ("(", "{", "|") else self._applied())
        if base is not None:
            if name != "log":
                raise NotAnExpressionError(f"\\{name} has no base")
            node = Operation("/", node, Call("log", base))
        return node if exponent is None else Operation("^", node, exponent)

    def _applied(self) -> Node:
        """The argument of a function without brackets: ``\\sin 2x``."""
        node = self._factor()
        while (piece := self.next) is not None and (
            piece.isalpha() or piece in ("\\pi", "\\theta", "\\sqrt", "\\frac")
        ):
            node = Operation("*", node, self._factor())
        return node

    def _letter(self, name: str) -> Node:
        """A letter with the index behind it, if there is one."""
        if self.next != "_":
            return Letter(name)
        self._take()
        if self.next != "{":
            return Letter(f"{name}_{self._take()}")
        self._take()
        index = []
        while self.next != "}":
            index.append(self._take())
        self._take()
        return Letter(f"{name}_{''.join(index)}")
