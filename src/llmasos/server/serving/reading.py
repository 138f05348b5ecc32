"""From the raw text of an output to what a client is told: reasoning, words, calls of tools."""

from __future__ import annotations

from collections.abc import Sequence

from llmasos.engine.tool_calls import TextDelta, ToolCallParser
from llmasos.engine.tool_formats import ToolFormat
from llmasos.server.serving.job import Piece, ToolCallPiece

OPENING, CLOSING = "<think>", "</think>"
_SPACE = " \t\r\n"


def marks_reasoning(template: str) -> bool:
    """Whether a chat template knows of reasoning between ``<think>`` and ``</think>``."""
    return OPENING in template or CLOSING in template


class ReasoningReader:
    """Takes the part between ``<think>`` and ``</think>`` at the beginning of an output apart, as it comes.

    Args:
        begun: whether the prompt has opened the reasoning already.
    """

    def __init__(self, *, begun: bool) -> None:
        self._state = "thinking" if begun else "start"
        self._thought = False  # whether some reasoning is out: white space before it belongs to the marker
        self._held = ""

    def push(self, text: str) -> tuple[str, str]:
        """What the new text brings: reasoning, and words."""
        if self._state == "saying":
            return "", text
        self._held += text
        if self._state == "start":
            begun = self._held.lstrip(_SPACE)
            if len(begun) < len(OPENING) and OPENING.startswith(begun):
                return "", ""
            if not begun.startswith(OPENING):
                self._state = "saying"
                words, self._held = self._held, ""
                return "", words
            self._state = "thinking"
            self._held = begun[len(OPENING) :]
        return self._think()

    def _think(self) -> tuple[str, str]:
        if not self._thought:
            self._held = self._held.lstrip(_SPACE)
        position = self._held.find(CLOSING)
        if position < 0:
            certain = len(self._held) - _overlap(self._held, CLOSING)
            # White space before the marker belongs to it.
            certain = len(self._held[:certain].rstrip(_SPACE))
            reasoning, self._held = self._held[:certain], self._held[certain:]
            self._thought = self._thought or bool(reasoning)
            return reasoning, ""
        reasoning = self._held[:position].rstrip(_SPACE)
        rest = self._held[position + len(CLOSING) :]
        self._held = ""
        self._state = "gap"
        return reasoning, self._skip_gap(rest)

    def _skip_gap(self, text: str) -> str:
        words = text.lstrip(_SPACE)
        if words:
            self._state = "saying"
        return words

    def read(self, text: str) -> tuple[str, str]:
        """As :meth:`push`, without the white space between reasoning and words."""
        if self._state == "gap":
            return "", self._skip_gap(text)
        return self.push(text)

    def finish(self) -> tuple[str, str]:
        """What was held back, at the end of the output."""
        held, self._held = self._held, ""
        return (held, "") if self._state == "thinking" else ("", held)


def _overlap(text: str, marker: str) -> int:
    """How many characters at the end of ``text`` may be the beginning of ``marker``."""
    for length in range(min(len(marker) - 1, len(text)), 0, -1):
        if text.endswith(marker[:length]):
            return length
    return 0


class OutputReader:
    """Reads one output; without reasoning and tools its text passes through untouched."""

    __slots__ = ("_parser", "_reasoning", "calls")

    def __init__(self, *, reasoning: ReasoningReader | None, tools: ToolFormat | None) -> None:
        self._reasoning = reasoning
        self._parser = ToolCallParser(tools) if tools is not None else None
        self.calls = 0
        """Tool calls that have begun."""

    @property
    def plain(self) -> bool:
        """Whether the text is the client's as it is."""
        return self._reasoning is None and self._parser is None

    def push(self, text: str) -> tuple[str, str, list[ToolCallPiece]]:
        """Words, reasoning and calls that the new text brings."""
        reasoning, words = ("", text) if self._reasoning is None else self._reasoning.read(text)
        if self._parser is None:
            return words, reasoning, []
        said, calls = self._sorted(self._parser.push(words))
        return said, reasoning, calls

    def finish(self) -> tuple[str, str, list[ToolCallPiece]]:
        """What was held back, at the end of the output."""
        reasoning, words = ("", "") if self._reasoning is None else self._reasoning.finish()
        if self._parser is None:
            return words, reasoning, []
        said, calls = self._sorted([*self._parser.push(words), *self._parser.finish()])
        return said, reasoning, calls

    def _sorted(self, events: Sequence[object]) -> tuple[str, list[ToolCallPiece]]:
        words = ""
        calls: list[ToolCallPiece] = []
        for event in events:
            if isinstance(event, TextDelta):
                words += event.text
                continue
            piece = ToolCallPiece(event.index, event.id, event.name, event.arguments)  # type: ignore[attr-defined]
            if piece.id is not None:
                self.calls += 1
            calls.append(piece)
        return words, calls


class ReasoningTokens:
    """Counts the tokens with which a model thinks, as its pieces come; their closing marker is not among them."""

    def __init__(self) -> None:
        self.count = 0
        self._uncertain = 0
        self._over = False

    def add(self, piece: Piece) -> None:
        """Take in the next piece of the output."""
        if self._over:
            return
        self._uncertain += len(piece.token_ids)
        if piece.reasoning:
            self.count += self._uncertain
            self._uncertain = 0
        self._over = bool(piece.text or piece.tool_calls)
