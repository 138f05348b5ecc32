"""One call of a tool, read from its JSON character by character."""

from __future__ import annotations

import json

SPACE = " \t\r\n"
_KEYS = ("arguments", "parameters")


class CallReader:
    """Reads a JSON object: the name of a tool, and the arguments as they were written.

    The object is ``{"name": ..., "arguments": {...}}`` (or ``"parameters"``) in any order and with any other members;
    or, when the name is known from elsewhere, the arguments themselves.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name
        self.raw: list[str] = []
        """All characters so far."""
        self.fragments: list[str] = []
        """Characters of the arguments that nobody has taken yet."""
        self.has_arguments = False
        self.closed = False
        self.broken = False
        """Whether this is not the JSON of an object."""
        self._bare = name is not None
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._member: list[str] = []  # characters of the key or value being read, at depth 1
        self._key: str | None = None
        self._capturing = False

    @property
    def is_call(self) -> bool:
        """Whether name and arguments are known: only then is it certain that this is a call."""
        return self.name is not None and self.has_arguments

    def push(self, character: str) -> None:
        """Take one more character, while the object is neither closed nor broken."""
        self.raw.append(character)
        if self._capturing:
            self.fragments.append(character)
        elif self._in_string or character not in SPACE + "{[]}:,":
            self._member.append(character)
            self.broken = self._depth == 0
        if self._in_string:
            if self._escaped:
                self._escaped = False
            elif character == "\\":
                self._escaped = True
            elif character == '"':
                self._in_string = False
        elif character == '"':
            self._in_string = True
        elif character in "{[":
            self._open(character)
        elif character in "}]":
            self._close(character)
        elif self._depth == 1 and not self._bare:
            if character == ":":
                self._end_key()
            elif character == ",":
                self._end_value()

    def _open(self, character: str) -> None:
        if self._depth == 0:
            self.broken = character != "{"
            if self._bare:
                self._capture(character)
        elif self._depth == 1 and not self._bare:
            self.broken = self._key is None
            if self._key in _KEYS and character == "{" and not self.has_arguments:
                self._capture(character)
        self._depth += 1

    def _capture(self, character: str) -> None:
        self.has_arguments = self._capturing = True
        self.fragments.append(character)

    def _close(self, character: str) -> None:
        self._depth -= 1
        if self._depth == 1 and not self._bare:
            self._capturing = False
            self._member = ["{}"]  # stands for the value that has been read
        elif self._depth == 0:
            self._capturing = False
            if self._member or self._key is not None:
                self._end_value()
            self.broken = self.broken or character != "}"
            self.closed = not self.broken

    def _end_key(self) -> None:
        key = _string("".join(self._member))
        self.broken = key is None or self._key is not None
        self._key, self._member = key, []

    def _end_value(self) -> None:
        value = "".join(self._member)
        key, self._key, self._member = self._key, None, []
        if key is None or not value:
            self.broken = True
        elif key == "name":
            self.name = _string(value)
            self.broken = self.name is None
        elif key in _KEYS and not self.has_arguments:
            inner = _string(value)  # some models put the arguments into a string
            self.broken = inner is None or not _is_object(inner)
            self.has_arguments = not self.broken
            self.fragments.append(inner or "")


def _string(text: str) -> str | None:
    """The value of a JSON string, ``None`` for any other text."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, str) else None


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except json.JSONDecodeError:
        return False
