"""Typed access to the metadata of a GGUF file: a value of the wrong type is damage, not a surprise later on."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import overload

from llmasos.errors import IntegrityError
from llmasos.i18n import t
from llmasos.library.formats.gguf.header import Header, Value, damaged

MAX_INTEGER = 2**31 - 1  # no size in any model's configuration comes near it


class Fields:
    """Metadata of one file; names that begin with a dot get the architecture before them."""

    def __init__(self, header: Header) -> None:
        self.header = header

    def key(self, name: str) -> str:
        """The full key."""
        return self.header.architecture + name if name.startswith(".") else name

    def has(self, name: str) -> bool:
        """Whether the file has the key."""
        return self.key(name) in self.header.metadata

    def _get(self, name: str) -> Value | None:
        return self.header.metadata.get(self.key(name))

    def _wrong(self, name: str, value: object, wanted: str) -> IntegrityError:
        shown = repr(value)[:80]
        return damaged(
            self.header.path,
            t("{key} is {value}, {wanted} is needed", key=self.key(name), value=shown, wanted=wanted),
        )

    def missing(self, name: str) -> IntegrityError:
        """The error for a key that the architecture cannot do without."""
        return damaged(self.header.path, t("the metadata has no {key}", key=self.key(name)))

    @overload
    def integer(self, name: str, default: int, *, least: int = ...) -> int: ...
    @overload
    def integer(self, name: str, default: None = None, *, least: int = ...) -> int | None: ...
    def integer(self, name: str, default: int | None = None, *, least: int = 0) -> int | None:
        """A whole number from ``least`` to 2^31 - 1. Some converters write one value per layer: all must agree."""
        value = self._get(name)
        if value is None:
            return default
        if isinstance(value, Sequence) and not isinstance(value, str) and len(value) and len(set(value)) == 1:
            value = value[0]
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MAX_INTEGER:
            raise self._wrong(name, value, t("a whole number from {least}", least=least))
        return value

    def required(self, name: str, *, least: int = 1) -> int:
        """A whole number that has to be there."""
        value = self.integer(name, least=least)
        if value is None:
            raise self.missing(name)
        return value

    @overload
    def number(self, name: str, default: float) -> float: ...
    @overload
    def number(self, name: str, default: None = None) -> float | None: ...
    def number(self, name: str, default: float | None = None) -> float | None:
        """A finite number, in the shortest decimal form that gives the stored float32 (1e-05, not 9.99...e-06)."""
        value = self._get(name)
        if value is None:
            return default
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise self._wrong(name, value, t("a finite number"))
        return shortest(float(value))

    def text(self, name: str) -> str | None:
        """A string."""
        value = self._get(name)
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, value, t("a text"))
        return value

    def boolean(self, name: str) -> bool | None:
        """True or false."""
        value = self._get(name)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(name, value, t("true or false"))
        return value

    def texts(self, name: str) -> Sequence[str] | None:
        """An array of strings."""
        value = self._get(name)
        if value is None:
            return None
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
        raise self._wrong(name, value, t("an array of texts"))

    def numbers(self, name: str) -> Sequence[int] | Sequence[float] | None:
        """An array of numbers."""
        value = self._get(name)
        if value is None:
            return None
        if isinstance(value, str | int | float) or (len(value) and isinstance(value[0], str)):
            raise self._wrong(name, value, t("an array of numbers"))
        return value  # type: ignore[return-value]  # the first item tells: the format stores one type per array


def shortest(value: float) -> float:
    """The decimal number with the fewest digits that is the same float32, or ``value`` if it never was one."""
    try:
        stored = struct.pack("<f", value)
    except OverflowError:
        return value
    if struct.unpack("<f", stored)[0] != value:
        return value
    for digits in range(1, 10):
        short = float(f"{value:.{digits}g}")
        try:
            if struct.pack("<f", short) == stored:
                return short
        except OverflowError:  # rounded up past the largest float32
            continue
    return value
