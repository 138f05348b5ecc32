"""Text from outside must not spell control tokens (``<|im_start|>system`` ...): how they are found and kept apart.

Every control token inside a message is replaced by one character that occurs nowhere else before a template is
rendered, and the rendered text is cut at these characters afterwards. The same kind of characters marks where a
template's ``{% generation %}`` blocks begin and end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmasos.modeling.prompt import Prompt, Segment

# Rare Chinese characters: printable, so that a template that prints a list does not escape them, and without case.
_PLACEHOLDERS = range(0x30000, 0x3134B)
_PLACEHOLDER = re.compile(f"[{chr(_PLACEHOLDERS.start)}-{chr(_PLACEHOLDERS.stop - 1)}]")


@dataclass(frozen=True, slots=True)
class ControlTokens:
    """What text from outside must not say: ``special`` tokens never, ``all`` only by an assistant."""

    special: re.Pattern[str]
    all: re.Pattern[str]

    @classmethod
    def of(cls, added_tokens: Mapping[str, bool], written: Callable[[str], bool] = lambda _: False) -> ControlTokens:
        """The control tokens of a tokenizer.

        Args:
            added_tokens: every added token and whether it is special.
            written: whether the chat template itself writes an ordinary added token, such as ``<think>``.
        """
        special = [token for token, is_special in added_tokens.items() if is_special]
        ordinary = [
            token
            for token, is_special in added_tokens.items()
            if not is_special and not token.isspace() and written(token)
        ]
        return cls(any_of(special), any_of([*special, *ordinary]))

    def escape(self, text: str) -> Prompt:
        """A text without a template, with the special tokens that it spells as literal segments."""
        segments: list[Segment] = []
        start = 0
        for match in self.special.finditer(text):
            if match.start() > start:
                segments.append(Segment(text[start : match.start()]))
            segments.append(Segment(match.group(), literal=True))
            start = match.end()
        if start < len(text) or not segments:
            segments.append(Segment(text[start:]))
        return Prompt(tuple(segments))


def any_of(tokens: Iterable[str]) -> re.Pattern[str]:
    """A pattern for any of some texts, the longest first."""
    longest_first = sorted(filter(None, tokens), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def placeholders_in(value: object) -> set[str]:
    """The characters of all texts in ``value`` that could be taken for placeholders."""
    return {character for text in _strings(value) for character in _PLACEHOLDER.findall(text)}


class Guard:
    """Replaces control tokens in text from outside by placeholders, and cuts the rendered text at them.

    Args:
        seen: all data that the template sees, and ``taken`` the placeholder characters of the template itself.
    """

    def __init__(self, control: ControlTokens, seen: object, taken: Iterable[str]) -> None:
        self._seen = seen
        self._taken = taken
        self._unused: Iterator[str] | None = None
        self._control = control
        self._placeholders: dict[str, str] = {}
        self._originals: dict[str, str] = {}

    def fresh(self) -> str:
        """A character that occurs in nothing that the template sees."""
        if self._unused is None:
            used = placeholders_in(self._seen).union(self._taken)
            self._unused = (chr(code) for code in _PLACEHOLDERS if chr(code) not in used)
        return next(self._unused)

    def hide(self, value: Any) -> Any:
        """The same plain data with placeholders for control tokens in all its texts.

        What an assistant said may contain tokens that the template handles itself (``<think>``, tool calls); there
        only special tokens are hidden.
        """
        own_words = isinstance(value, dict) and value.get("role") == "assistant"
        pattern = self._control.special if own_words else self._control.all
        # Nearly all messages are a role and a text without control tokens, and there are millions of them.
        if type(value) is dict and not any(map(pattern.search, value)):
            texts = value.values()
            if all(type(text) is str for text in texts) and not any(map(pattern.search, texts)):
                return value
        return self._hide(value, pattern)

    def _hide(self, value: Any, pattern: re.Pattern[str]) -> Any:
        if isinstance(value, str):
            return pattern.sub(self._placeholder, value)
        if isinstance(value, dict):
            return {self._hide(key, pattern): self._hide(item, pattern) for key, item in value.items()}
        if isinstance(value, list):
            return [self._hide(item, pattern) for item in value]
        return value

    def _placeholder(self, match: re.Match[str]) -> str:
        token = match.group()
        if token not in self._placeholders:
            self._placeholders[token] = self.fresh()
            self._originals[self._placeholders[token]] = token
        return self._placeholders[token]

    def reveal(self, rendered: str, marks: tuple[str, str] = ("", "")) -> Prompt:
        """Cut the rendered text into ordinary and literal pieces.

        Args:
            marks: the characters that stand for the beginning and the end of a ``generation`` block, if any.
        """
        opening, closing = marks
        cuts = "".join([*self._originals, opening, closing])
        if not cuts:
            return Prompt((Segment(rendered),) if rendered else ())
        pieces: list[Segment] = []
        answers: list[tuple[int, int]] = []
        opened: list[int] = []
        text, length = "", 0
        for piece in re.split(f"([{cuts}])", rendered):
            if piece and piece == opening:
                opened.append(length)
            elif piece and piece == closing:
                if opened:  # a template may write the mark by itself
                    answers.append((opened.pop(), length))
            elif piece in self._originals:
                original = self._originals[piece]
                pieces += [Segment(text)] if text else []
                pieces.append(Segment(original, literal=True))
                text, length = "", length + len(original)
            else:
                text, length = text + piece, length + len(piece)
        pieces += [Segment(text)] if text else []
        return Prompt(tuple(pieces), tuple(sorted(answers)))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(key)
            yield from _strings(item)
    elif isinstance(value, Iterable):
        for item in value:
            yield from _strings(item)
