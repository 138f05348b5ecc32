"""Token ids to text, piece by piece: no broken characters, and stop texts found across token borders."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_INCOMPLETE = "\ufffd"  # what decoders put for bytes that are not (yet) a whole character
_CONTEXT = 5  # tokens that a token's own text can depend on: the rest of a character of up to four byte tokens
_PATIENCE = 8  # tokens after which bytes that are still no character never will be one


class IncrementalDetokenizer:
    """Turns a growing sequence of token ids into text that only ever grows.

    A token's text depends on its neighbours (spaces of SentencePiece, characters spread over several byte tokens), so
    a short window of tokens is decoded twice, with and without the new ones, and the difference is the new text.
    Text is held back while it ends within a character.

    Args:
        decode: turns token ids into text.
        context: tokens before the first one (the end of the prompt); they give the first token its leading space.
    """

    def __init__(self, decode: Callable[[list[int]], str], context: Sequence[int] = ()) -> None:
        self._decode = decode
        self._window = list(context[-_CONTEXT:])
        self._settled = len(self._window)
        self._settled_text = decode(self._window) if self._window else ""

    def push(self, token_ids: Sequence[int]) -> str:
        """Add tokens and return the text that has become certain; empty while a character is incomplete."""
        new = ""
        for token_id in token_ids:
            self._window.append(token_id)
            text = self._decode(self._window)
            if not text.endswith(_INCOMPLETE) or len(self._window) - self._settled > _PATIENCE:
                new += self._settle(text)
        return new

    def finish(self) -> str:
        """The text still held back; an incomplete character is given as the replacement character U+FFFD."""
        return self._settle(self._decode(self._window)) if len(self._window) > self._settled else ""

    def _settle(self, text: str) -> str:
        new = text[len(self._settled_text) :]
        self._window = self._window[-_CONTEXT:]
        self._settled = len(self._window)
        self._settled_text = self._decode(self._window)
        return new


class StopMatcher:
    """Finds the first stop text in a stream and holds back what may turn out to be the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""

    def push(self, text: str) -> tuple[str, str | None]:
        """Add text; return what is safe to show and the stop text that was met, if any."""
        if not self._stops:
            return text, None
        buffer = self._held + text
        found = [(position, -len(stop), stop) for stop in self._stops if (position := buffer.find(stop)) >= 0]
        if found:
            position, _, stop = min(found)
            self._held = ""
            return buffer[:position], stop
        keep = self._beginning_of_stop(buffer)
        self._held = buffer[len(buffer) - keep :]
        return buffer[: len(buffer) - keep], None

    def finish(self) -> str:
        """What was held back and turned out to be no stop text."""
        held, self._held = self._held, ""
        return held

    def _beginning_of_stop(self, buffer: str) -> int:
        """Length of the longest end of ``buffer`` that a stop text begins with."""
        longest = min(len(buffer), max(len(stop) for stop in self._stops) - 1)
        for length in range(longest, 0, -1):
            tail = buffer[len(buffer) - length :]
            if any(stop.startswith(tail) for stop in self._stops):
                return length
        return 0
