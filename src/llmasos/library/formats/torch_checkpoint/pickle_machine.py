"""A pickle reader that runs nothing.

Python's own unpickler is a small machine whose programs may call any function of any module; restricting it means
forbidding what one has thought of. This one is built the other way round: it knows data (numbers, texts, tuples,
lists, dictionaries), names of globals as mere names, and the handful of calls by which PyTorch describes a tensor.
Those calls build descriptions; no module is imported, no attribute is set, nothing else exists.
The instructions are decoded by the standard library's ``pickletools``.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmasos.errors import IntegrityError, UnsafeContent
from llmasos.i18n import t

MAX_PICKLE_BYTES = 64 * 2**20  # the descriptions of a million tensors
_HASHABLE = (str, int, float, bool, bytes, type(None))


@dataclass(frozen=True, slots=True)
class GlobalName:
    """The name of a Python object that the pickle mentions; it is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


Call = Callable[[tuple[Any, ...]], Any]
PersistentLoad = Callable[[Any], Any]


class _Mark:
    pass


_MARK = _Mark()


class PickleMachine:
    """Runs pickles over an allow-list.

    Args:
        calls: what may be called, by the name in the pickle, and what is built instead.
        names: further globals that may be mentioned as values.
        load: makes something of a persistent id (PyTorch's reference to a storage).
        where: the file, for messages.
    """

    def __init__(
        self, calls: dict[str, Call], names: Callable[[GlobalName], bool], load: PersistentLoad, where: str
    ) -> None:
        self._calls = calls
        self._names = names
        self._load = load
        self._where = where

    def run(self, stream: io.BytesIO) -> Any:
        """The value of the pickle that begins at the stream's position; leaves the stream behind it.

        Raises:
            UnsafeContent: the pickle mentions a global that is not allowed, or does what data need not do.
            IntegrityError: it is truncated or contradicts itself.
        """
        stack: list[Any] = []
        memo: dict[int, Any] = {}
        start = stream.tell()
        try:
            for opcode, argument, position in pickletools.genops(stream):
                at = position if position is not None else start
                if opcode.name == "STOP":
                    if len(stack) != 1:
                        raise self._damaged(t("it ends with {count} values, one is needed", count=len(stack)), at)
                    return stack[0]
                self._step(opcode.name, argument, stack, memo, at)
        except (ValueError, OverflowError, MemoryError) as error:  # what pickletools raises for malformed instructions
            raise self._error(t("an instruction is damaged ({error})", error=error)) from error
        raise self._damaged(t("it has no end"), stream.tell())

    def _step(self, name: str, argument: Any, stack: list[Any], memo: dict[int, Any], at: int) -> None:
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else argument] = self._top(stack, at)
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            if argument not in memo:
                raise self._damaged(t("it refers to a value that it never stored"), at)
            stack.append(memo[argument])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            stack.append(self._global(argument, stack, name, at))
        elif name == "REDUCE":
            stack.append(self._call(stack, at))
        elif name == "BUILD":
            self._build(stack, at)
        elif name == "BINPERSID":
            stack.append(self._load(self._pop(stack, at)))
        elif name in _CONTAINERS:
            self._container(name, stack, at)
        elif name not in ("PROTO", "FRAME"):
            raise self._unsafe(t("the instruction {name}", name=name))

    def _container(self, name: str, stack: list[Any], at: int) -> None:
        if name == "MARK":
            stack.append(_MARK)
        elif name == "POP":
            self._pop(stack, at)
        elif name == "POP_MARK":
            self._to_mark(stack, at)
        elif name == "DUP":
            stack.append(self._top(stack, at))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            items = [self._pop(stack, at) for _ in range(int(name[-1]))]
            stack.append(tuple(reversed(items)))
        elif name == "TUPLE":
            stack.append(tuple(self._to_mark(stack, at)))
        elif name == "LIST":
            stack.append(self._to_mark(stack, at))
        elif name == "DICT":
            stack.append(self._fill({}, self._to_mark(stack, at), at))
        elif name in ("APPEND", "APPENDS"):
            items = [self._pop(stack, at)] if name == "APPEND" else self._to_mark(stack, at)
            target = self._top(stack, at)
            if not isinstance(target, list):
                raise self._damaged(t("it appends to something that is not a list"), at)
            target.extend(items)
        else:  # SETITEM, SETITEMS
            items = (
                [self._pop(stack, at), self._pop(stack, at)][::-1] if name == "SETITEM" else (self._to_mark(stack, at))
            )
            target = self._top(stack, at)
            if not isinstance(target, dict):
                raise self._damaged(t("it sets an item of something that is not a dictionary"), at)
            self._fill(target, items, at)

    def _fill(self, target: dict[Any, Any], items: list[Any], at: int) -> dict[Any, Any]:
        if len(items) % 2:
            raise self._damaged(t("a dictionary has a key without a value"), at)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, _HASHABLE):
                raise self._damaged(t("a dictionary has a key that is neither a text nor a number"), at)
            target[key] = value
        return target

    def _global(self, argument: Any, stack: list[Any], opcode: str, at: int) -> GlobalName:
        if opcode == "GLOBAL":
            module, _, name = str(argument).partition(" ")
        else:
            name, module = self._pop(stack, at), self._pop(stack, at)
            if not isinstance(name, str) or not isinstance(module, str):
                raise self._damaged(t("the name of a global is not a text"), at)
        found = GlobalName(module, name)
        if str(found) not in self._calls and not self._names(found):
            raise self._unsafe(str(found)[:200])
        return found

    def _call(self, stack: list[Any], at: int) -> Any:
        arguments = self._pop(stack, at)
        function = self._pop(stack, at)
        if not isinstance(arguments, tuple):
            raise self._damaged(t("the arguments of a call are not a tuple"), at)
        call = self._calls.get(str(function)) if isinstance(function, GlobalName) else None
        if call is None:
            raise self._unsafe(t("a call of {name}", name=str(function)[:200]))
        return call(arguments)

    def _build(self, stack: list[Any], at: int) -> None:
        """State of an object. Only dictionaries of weights carry one (``_metadata``), and it says nothing of them."""
        self._pop(stack, at)
        target = self._top(stack, at)
        if not isinstance(target, dict):
            raise self._unsafe(t("setting the state of an object"))

    def _pop(self, stack: list[Any], at: int) -> Any:
        if not stack or stack[-1] is _MARK:
            raise self._damaged(t("it takes a value where there is none"), at)
        return stack.pop()

    def _top(self, stack: list[Any], at: int) -> Any:
        if not stack or stack[-1] is _MARK:
            raise self._damaged(t("it takes a value where there is none"), at)
        return stack[-1]

    def _to_mark(self, stack: list[Any], at: int) -> list[Any]:
        items: list[Any] = []
        while stack:
            item = stack.pop()
            if item is _MARK:
                items.reverse()
                return items
            items.append(item)
        raise self._damaged(t("it takes a value where there is none"), at)

    def _damaged(self, reason: str, at: int) -> IntegrityError:
        return self._error(t("{reason} (at byte {offset})", reason=reason, offset=at))

    def _error(self, reason: str) -> IntegrityError:
        return IntegrityError(
            t("the pickle in {where} is damaged: {reason}", where=self._where, reason=reason),
            hint=t("Fetch the file again; an incomplete download is the usual cause."),
        )

    def _unsafe(self, what: str) -> UnsafeContent:
        return UnsafeContent(
            t(
                "{where} asks Python for {what}, which weights do not need; nothing of it was run",
                where=self._where,
                what=what,
            ),
            hint=t("Ask the author for safetensors, or save only the state_dict of the model."),
        )


_LITERALS = frozenset(
    {
        "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
        "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
        "BINBYTES8",
    }
)  # fmt: skip
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
}
_CONTAINERS = frozenset(
    {
        "MARK", "POP", "POP_MARK", "DUP", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "LIST", "DICT", "APPEND", "APPENDS",
        "SETITEM", "SETITEMS",
    }
)  # fmt: skip
