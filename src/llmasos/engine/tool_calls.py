"""Calls of tools in a model's output, extracted while it streams.

What looks like a call and is none (broken JSON, an object without name and arguments) comes out as text: nothing that
a model wrote is ever lost.
"""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass
from enum import Enum

from llmasos.engine.stop_strings import StopAutomaton
from llmasos.engine.tool_call_reader import SPACE, CallReader
from llmasos.engine.tool_formats import ToolFormat

_PYTHON_TAG = "<|python_tag|>"
_LONGEST_NAME = 80
# What stands between two calls, and what ends them all.
_BEHIND = {
    ToolFormat.HERMES: (",", "</tool_call>"),
    ToolFormat.LLAMA3: (";", ""),
    ToolFormat.MISTRAL: (",", "]"),
    ToolFormat.MISTRAL11: ("", ""),
}


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Text outside of calls."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A part of a call. The first of each call has its id and name; the fragments of arguments join to JSON text."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A whole call."""

    id: str
    name: str
    arguments: str
    """JSON text of an object; cut off where the output was."""


Event = TextDelta | ToolCallDelta


def new_call_id() -> str:
    """Nine letters and digits: the only form that Mistral's templates take, and good for all others."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(9))


class _Place(Enum):
    TEXT = "text"
    """Outside of calls, looking for a marker."""
    START = "start"
    """Before the first character of an output that may be a call as a whole."""
    BEFORE = "before"
    """Between a marker, or the call before, and the next call."""
    NAME = "name"
    """In a name that stands outside of JSON."""
    OBJECT = "object"
    """In the JSON of a call."""
    AFTER = "after"
    """Behind a call, before its closing marker or the next call."""


class ToolCallParser:
    """Splits one output into text and calls. Feed it text with the special tokens left in."""

    def __init__(self, format: ToolFormat) -> None:
        self._format = format
        self._place = _Place.START if format.marker is None else _Place.TEXT
        self._automaton = StopAutomaton([format.marker]) if format.marker is not None else None
        self._state = 0
        self._held = ""  # text that may still turn out to be a marker, or part of a call that is not certain
        self._call: CallReader | None = None
        self._name = ""
        self._announced = False
        self._count = 0
        self._events: list[Event] = []

    def push(self, text: str) -> list[Event]:
        """What the new text brings."""
        for character in text:
            getattr(self, f"_in_{self._place.value}")(character)
        self._flush_arguments()
        return self._taken()

    def finish(self) -> list[Event]:
        """What was held back, at the end of the output. A call that was cut off keeps what it has."""
        self._flush_arguments()
        if self._place is _Place.OBJECT:
            if not self._announced:
                self._give_up()
        elif self._place is not _Place.AFTER:
            self._say(self._held)
        self._held = ""
        self._place = _Place.TEXT
        return self._taken()

    def _taken(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _say(self, text: str) -> None:
        if not text:
            return
        last = self._events[-1] if self._events else None
        if isinstance(last, TextDelta):
            self._events[-1] = TextDelta(last.text + text)
        else:
            self._events.append(TextDelta(text))

    # --- one method per place ---------------------------------------------------------------------------------

    def _in_text(self, character: str) -> None:
        if self._automaton is None:
            self._say(character)
            return
        self._held += character
        self._state = self._automaton.advance(self._state, character)
        marker = self._automaton.endings[self._state]
        if marker is not None:
            # White space in front of a call belongs to the format; it stays with the marker in case there is none.
            before = self._held[: -len(marker)]
            kept = before.rstrip(SPACE)
            self._say(kept)
            self._held = self._held[len(kept) :]
            self._state = 0
            self._place = _Place.NAME if self._format is ToolFormat.MISTRAL11 else _Place.BEFORE
            return
        certain = len(self._held) - self._automaton.depths[self._state]
        certain = len(self._held[:certain].rstrip(SPACE))
        self._say(self._held[:certain])
        self._held = self._held[certain:]

    def _in_start(self, character: str) -> None:
        self._held += character
        begun = self._held.lstrip(SPACE)
        after = begun.removeprefix(_PYTHON_TAG).lstrip(SPACE)
        if after == "{":
            self._held = self._held[:-1]
            self._begin(CallReader())
            self._in_object("{")
        elif after and not _PYTHON_TAG.startswith(begun):
            self._lose()

    def _in_before(self, character: str) -> None:
        if character == "{":
            self._begin(CallReader())
            self._in_object(character)
        else:
            self._held += character
            if character not in SPACE + "[":  # a list of calls, or a call alone
                self._lose()

    def _in_name(self, character: str) -> None:
        self._name += character
        self._held += character
        name, found, _ = self._name.partition("[ARGS]")
        if found:
            self._name = ""
            self._begin(CallReader(name.partition("[CALL_ID]")[0].strip()))
        elif len(self._name) > _LONGEST_NAME:
            self._name = ""
            self._lose()

    def _in_object(self, character: str) -> None:
        reader = self._call
        assert reader is not None
        reader.push(character)
        if reader.is_call and not self._announced:
            self._announced = True
            self._events.append(ToolCallDelta(self._count, new_call_id(), reader.name))
        if reader.broken or (reader.closed and not reader.is_call):
            self._give_up()
        elif reader.closed:
            self._flush_arguments()
            self._count += 1
            self._call = None
            self._held = ""
            self._place = _Place.AFTER

    def _in_after(self, character: str) -> None:
        self._held += character
        text = self._held.strip(SPACE)
        if not text:
            return
        between, closing = _BEHIND[self._format]
        if text == between:
            self._place = _Place.BEFORE
            return
        if self._format is ToolFormat.HERMES:
            text = text.removeprefix("]").lstrip(SPACE)  # some models write a list between the markers
        if closing and text == closing:
            self._held, self._place = "", _Place.TEXT
        elif not closing or not closing.startswith(text):
            self._place = _Place.TEXT  # the end of the format is missing: go on without it
            self._replay()

    # --- steps ------------------------------------------------------------------------------------------------

    def _begin(self, reader: CallReader) -> None:
        self._call = reader
        self._announced = False
        self._place = _Place.OBJECT

    def _flush_arguments(self) -> None:
        """Send what is new of the arguments of a call, once it is certain that it is one."""
        reader = self._call
        if reader is None or not self._announced or not reader.fragments:
            return
        self._events.append(ToolCallDelta(self._count, arguments="".join(reader.fragments)))
        reader.fragments.clear()

    def _give_up(self) -> None:
        """What was read is no call: it is text, unless a part of it has gone out as a call already."""
        assert self._call is not None
        if self._announced:
            self._flush_arguments()
            self._count += 1
            self._held = ""
        else:
            self._held += "".join(self._call.raw)
        self._call = None
        self._lose()

    def _lose(self) -> None:
        """Go on as text, with what was held."""
        self._place = _Place.TEXT
        self._state = 0
        self._say(self._held)
        self._held = ""

    def _replay(self) -> None:
        text, self._held, self._state = self._held, "", 0
        for character in text:
            self._in_text(character)


def parse_tool_calls(format: ToolFormat, text: str) -> tuple[str, list[ToolCall]]:
    """Text and calls of a whole output."""
    parser = ToolCallParser(format)
    words: list[str] = []
    calls: list[ToolCall] = []
    for event in [*parser.push(text), *parser.finish()]:
        if isinstance(event, TextDelta):
            words.append(event.text)
        elif event.index == len(calls):
            calls.append(ToolCall(event.id or "", event.name or "", event.arguments))
        else:
            last = calls[event.index]
            calls[event.index] = ToolCall(last.id, last.name, last.arguments + event.arguments)
    return "".join(words), calls
