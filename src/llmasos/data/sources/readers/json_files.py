"""JSON Lines, and JSON files that hold a list of records; lists are read piece by piece, whatever their size."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import orjson

from llmasos.data.row import JsonValue
from llmasos.data.sources.columns import MissingColumn, value_at
from llmasos.data.sources.compression import open_plain
from llmasos.data.sources.plan import FilePlan, Piece, Reading
from llmasos.data.sources.readers.lines import decoded_lines, raw_lines, undecodable
from llmasos.data.sources.record import Broken, Item, Items, Record
from llmasos.errors import IntegrityError, InvalidRecipe
from llmasos.i18n import t

_CHUNK = 1 << 20
_LARGEST_RECORD = 64 << 20


def read_json_lines(file: FilePlan, piece: Piece) -> Items:
    """The records of JSON Lines: objects, or texts, which become the column ``text``. Empty lines are left out."""
    path, encoding = Path(file.path), file.encoding or "utf-8"
    if encoding == "utf-8":
        for number, raw in raw_lines(path, piece):
            if raw.isspace():
                continue
            try:
                yield _record(number, orjson.loads(raw), raw)
            except orjson.JSONDecodeError as error:
                yield _broken_line(number, raw, error)
        return
    for number, line in decoded_lines(path, piece, encoding):
        if isinstance(line, Broken):
            yield line
        elif line and not line.isspace():
            try:
                yield _record(number, orjson.loads(line), line)
            except (orjson.JSONDecodeError, UnicodeEncodeError) as error:
                yield Broken(number, "broken_json", str(error), line)


def _broken_line(number: int, raw: bytes, error: orjson.JSONDecodeError) -> Item:
    """Why a line is not JSON; what Python writes beyond the standard (NaN, Infinity) is read as null."""
    stripped = raw.rstrip(b"\r\n")
    try:
        text = stripped.decode("utf-8")
    except UnicodeDecodeError as problem:
        return undecodable(number, stripped.decode("utf-8", "backslashreplace"), "utf-8", problem.start)
    try:
        value = json.loads(text, parse_constant=lambda _: None)
        orjson.dumps(value)  # refuses lone surrogates
    except (ValueError, TypeError, RecursionError):
        # The line feed belongs to the file, not to the record: without it the message is to the point.
        told = _problem(stripped) or error
        return Broken(number, "broken_json", f"{told.msg} at column {told.colno}", text)
    return _record(number, value, text)


def _problem(raw: bytes) -> orjson.JSONDecodeError | None:
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return error
    return None


def _record(number: int, value: JsonValue, raw: str | bytes) -> Item:
    if isinstance(value, dict):
        return Record(number, value)
    if isinstance(value, str):
        return Record(number, {"text": value})
    text = raw.decode("utf-8").rstrip("\r\n") if isinstance(raw, bytes) else raw
    return Broken(number, "not_an_object", f"a {type(value).__name__}, not an object", text)


def read_json(file: FilePlan, reading: Reading) -> Items:
    """The records of a JSON file: its list, the list at ``records``, or the one object that it is.

    Raises:
        IntegrityError: it is not JSON; the message has the line.
        InvalidRecipe: there is no list at ``records``.
    """
    with open_plain(Path(file.path)) as binary:
        text = io.TextIOWrapper(binary, encoding=file.encoding or "utf-8", newline="\n")
        try:
            if reading.records is None:
                yield from _stream(text, file)
            else:
                yield from _at(json.loads(text.read()), reading.records, file)
        except UnicodeDecodeError as error:
            raise _not_json(file, None, f"{error.reason} ({error.encoding})") from error
        except json.JSONDecodeError as error:
            raise _not_json(file, error.lineno, error.msg) from error
        except RecursionError as error:
            raise _not_json(file, None, t("it is nested too deeply")) from error


def _at(value: JsonValue, path: str, file: FilePlan) -> Items:
    try:
        found = value_at(value, path) if isinstance(value, dict) else None
    except MissingColumn:
        found = None
    if not isinstance(found, list):
        raise InvalidRecipe(
            t("{path} has no list at {records!r}", path=file.path, records=path),
            hint=t("Name the list of records by its keys, such as data.rows."),
        )
    for number, item in enumerate(found, start=1):
        yield _record(number, item, json.dumps(item, ensure_ascii=False))


def _stream(text: io.TextIOWrapper, file: FilePlan) -> Items:
    """The elements of the outer list, numbered from 1: several may stand on one line."""
    buffer = _Buffer(text)
    if buffer.next_character() != "[":
        yield _checked(1, buffer.value(file), buffer.last)
        if buffer.next_character():
            raise _not_json(file, buffer.line, "Extra data")
        return
    buffer.skip()
    for number in itertools.count(1):
        character = buffer.next_character()
        if character == "]":
            return
        if character == "":
            raise _not_json(file, buffer.line, t("the list is not closed"))
        yield _checked(number, buffer.value(file), buffer.last)
        character = buffer.next_character()
        if character == ",":
            buffer.skip()
        elif character != "]":
            raise _not_json(file, buffer.line, t("a comma or ] is missing"))


def _checked(number: int, value: JsonValue, raw: str) -> Item:
    if "\\ud" in raw or "\\uD" in raw:
        try:
            orjson.dumps(value)
        except TypeError:
            return Broken(number, "broken_json", "half of a surrogate pair", raw)
    return _record(number, value, raw)


class _Buffer:
    """A window on the text that grows until a value fits and forgets what was read."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._content = ""
        self._position = 0
        self._ended = False
        self._decoder = json.JSONDecoder()
        self.line = 1
        self.last = ""

    def _more(self, amount: int = _CHUNK) -> bool:
        chunk = self._text.read(amount)
        self._content = self._content[self._position :] + chunk
        self._position = 0
        self._ended = not chunk
        return bool(chunk)

    def next_character(self) -> str:
        """The next character that is no white space, which is not consumed; empty at the end."""
        while True:
            while self._position < len(self._content):
                character = self._content[self._position]
                if character not in " \t\r\n\ufeff":
                    return character
                self.line += character == "\n"
                self._position += 1
            if not self._more():
                return ""

    def skip(self) -> None:
        self._position += 1

    def value(self, file: FilePlan) -> JsonValue:
        """The value that begins here."""
        wanted = _CHUNK
        while True:
            try:
                value, end = self._decoder.raw_decode(self._content, self._position)
                # A number at the end of the window may go on.
                if end < len(self._content) or self._ended:
                    break
                self._more(wanted)
            except json.JSONDecodeError as error:
                # A broken value and one cut by the window look alike; more text tells.
                if len(self._content) - self._position > _LARGEST_RECORD or not self._more(wanted):
                    line = self.line + self._content.count("\n", self._position, error.pos)
                    raise _not_json(file, line, error.msg) from error
            wanted *= 2
        self.last = self._content[self._position : end]
        self.line += self.last.count("\n")
        self._position = end
        return value


def _not_json(file: FilePlan, line: int | None, problem: str) -> IntegrityError:
    place = f"{file.path}:{line}" if line is not None else file.path
    return IntegrityError(
        t("{place} is not valid JSON: {problem}", place=place, problem=problem),
        hint=t("A list cannot be read beyond such a place. Repair it, or write one object on each line (.jsonl)."),
    )


def looks_like_json_lines(lines: Iterator[bytes]) -> bool:
    """Whether a file named .json holds one object on each line."""
    seen = 0
    for line in lines:
        stripped = line.strip()
        if not stripped:
            continue
        if not (stripped.startswith(b"{") and stripped.endswith(b"}")):
            return False
        seen += 1
        if seen == 2:
            return True
    return False
