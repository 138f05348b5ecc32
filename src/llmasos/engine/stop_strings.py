"""Stop texts in a stream: found across the borders of its pieces, with nothing shown too early.

An automaton (Aho and Corasick, Efficient String Matching, CACM 18(6), 1975) walks over the text once. Its state is the
longest end of the text that begins a stop text, so exactly that many characters are held back. The match that is
complete first wins, of two complete at the same character the longer one: how the text was cut into pieces never
matters.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


class StopAutomaton:
    """The stop texts of a request, compiled. Shared by its outputs."""

    __slots__ = ("_failures", "_moves", "depths", "endings")

    def __init__(self, stops: Sequence[str]) -> None:
        """``stops`` are not empty."""
        self._moves: list[dict[str, int]] = [{}]
        self.depths = [0]
        """Characters held back in each state."""
        self.endings: list[str | None] = [None]
        """The longest stop text that ends in each state."""
        for stop in stops:
            state = 0
            for character in stop:
                following = self._moves[state].get(character)
                if following is None:
                    following = len(self._moves)
                    self._moves[state][character] = following
                    self._moves.append({})
                    self.depths.append(self.depths[state] + 1)
                    self.endings.append(None)
                state = following
            self.endings[state] = stop
        self._failures = [0] * len(self._moves)
        queue = deque(self._moves[0].values())
        while queue:
            state = queue.popleft()
            for character, following in self._moves[state].items():
                self._failures[following] = self.advance(self._failures[state], character)
                queue.append(following)
            if self.endings[state] is None:
                self.endings[state] = self.endings[self._failures[state]]

    def advance(self, state: int, character: str) -> int:
        """The state after one more character."""
        while True:
            following = self._moves[state].get(character)
            if following is not None:
                return following
            if state == 0:
                return 0
            state = self._failures[state]


class StopScanner:
    """Lets through the text of one output that no stop text can claim any more."""

    __slots__ = ("_automaton", "_held", "_include", "_state", "found")

    def __init__(self, automaton: StopAutomaton, *, include: bool = False) -> None:
        """``include`` keeps the stop text at the end of the output."""
        self._automaton = automaton
        self._include = include
        self._state = 0
        self._held = ""
        self.found: str | None = None
        """The stop text that ended the output."""

    def push(self, text: str) -> str:
        """The part of the text so far that may be shown now. After a stop text was found: nothing."""
        if self.found is not None:
            return ""
        automaton, state = self._automaton, self._state
        pending = self._held + text
        for index, character in enumerate(text, start=len(self._held) + 1):
            state = automaton.advance(state, character)
            stop = automaton.endings[state]
            if stop is not None:
                self.found = stop
                self._held = ""
                return pending[:index] if self._include else pending[: index - len(stop)]
        self._state = state
        certain = len(pending) - automaton.depths[state]
        self._held = pending[certain:]
        return pending[:certain]

    def finish(self) -> str:
        """What was held back, when the output ends without a stop text."""
        rest, self._held, self._state = self._held, "", 0
        return rest
