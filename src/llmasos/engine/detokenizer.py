"""The text of one output while it is made: decoding and stop texts together."""

from __future__ import annotations

from collections.abc import Sequence

from llmasos.engine.stop_strings import StopAutomaton, StopScanner
from llmasos.engine.text_decoder import TextDecoder, text_decoder

__all__ = ["Detokenizer", "StopAutomaton", "TextDecoder", "text_decoder"]


class Detokenizer:
    """Takes the tokens of one output one by one and gives the text that can be shown.

    End tokens and stop ids are the engine's business: do not push them.
    """

    __slots__ = ("_scanner", "_stream")

    def __init__(
        self,
        decoder: TextDecoder,
        *,
        stops: StopAutomaton | Sequence[str] = (),
        include_stop: bool = False,
        skip_special_tokens: bool = True,
        context: Sequence[int] = (),
    ) -> None:
        """Args:
        decoder: of the model's tokenizer, made once by :func:`text_decoder`.
        stops: texts that end the output, or their automaton when several outputs share it.
        include_stop: keep the stop text at the end of the output.
        skip_special_tokens: leave special tokens out of the text.
        context: the prompt, if the output is to be its continuation: tokenizers drop the space in front of the
            first word of a text, which inside a text must stay. Empty: the output is a text of its own, as
            ``tokenizer.decode(output)`` is.
        """
        self._stream = decoder.stream(skip_special_tokens=skip_special_tokens, context=context)
        self._scanner: StopScanner | None = None
        if isinstance(stops, StopAutomaton) or stops:
            automaton = stops if isinstance(stops, StopAutomaton) else StopAutomaton(stops)
            self._scanner = StopScanner(automaton, include=include_stop)

    @property
    def stopped(self) -> str | None:
        """The stop text that was found: the output ends, and tokens after the one just pushed are not part of it."""
        return None if self._scanner is None else self._scanner.found

    def push(self, token: int) -> str:
        """The text that may be shown after one more token."""
        text = self._stream.push(token)
        return text if self._scanner is None or not text else self._scanner.push(text)

    def finish(self) -> str:
        """The text still held back, when the output has ended. Nothing after a stop text."""
        rest = self._stream.finish()
        if self._scanner is None:
            return rest
        return self._scanner.push(rest) + self._scanner.finish()
