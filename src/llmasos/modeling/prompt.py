"""A rendered conversation, and where its tokens stand in the text."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from llmasos.errors import Unsupported
from llmasos.i18n import t

if TYPE_CHECKING:
    import tokenizers


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a rendered prompt. ``literal`` text is encoded as characters, even where it spells a control token."""

    text: str
    literal: bool = False


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered conversation.

    Attributes:
        answers: (start, end) in characters of ``str(prompt)``: what the template itself marks as said by the assistant
            (``{% generation %}``), in order.
    """

    segments: tuple[Segment, ...]
    answers: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        return "".join(segment.text for segment in self.segments)

    @property
    def escaped(self) -> list[str]:
        """Control tokens that texts from outside spelled and that are encoded as ordinary characters."""
        return [segment.text for segment in self.segments if segment.literal]


class TokenRange(NamedTuple):
    """Tokens ``start`` to ``end`` (exclusive), and how many tokens beside them lie across an edge of the text."""

    start: int
    end: int
    crossing: int


class EncodedPrompt(Protocol):
    """The tokens of a prompt, with their places in its text."""

    @property
    def ids(self) -> list[int]: ...

    def tokens_within(self, start: int, end: int) -> TokenRange:
        """The tokens that lie wholly within the characters from ``start`` to ``end``.

        A token that also covers a character outside belongs to neither side; ``crossing`` counts these.

        Raises:
            Unsupported: the tokenizer does not know the places of its tokens.
        """
        ...


class BatchEncodedPrompt:
    """Tokens as the Rust library gives them; their places stay there until they are asked for.

    Args:
        encoding: of the whole text, made without a post-processor, for those move the edges of words.
        length: of the text in characters.
    """

    __slots__ = ("_encoding", "_length", "ids")

    def __init__(self, encoding: tokenizers.Encoding, length: int) -> None:
        self.ids: list[int] = encoding.ids
        self._encoding = encoding
        self._length = length

    def tokens_within(self, start: int, end: int) -> TokenRange:
        first, crossing = self._after_edge(start)
        last = self._covering(end)
        crossing += self._after_edge(end)[0] - last
        return TokenRange(min(first, last), last, crossing)

    def _covering(self, position: int) -> int:
        """The first token that covers the character at ``position``, or the next that has a token."""
        while position < self._length:
            token = self._encoding.char_to_token(position)
            if token is not None:
                return int(token)
            position += 1
        return len(self.ids)

    def _after_edge(self, position: int) -> tuple[int, int]:
        """The first token that begins at ``position`` or later, and how many tokens lie across that edge."""
        covering = first = self._covering(position)
        while first < len(self.ids):
            place = self._encoding.token_to_chars(first)
            if place is None or place[0] >= position:
                break
            first += 1
        return first, first - covering


class PlacedPrompt:
    """Tokens with an explicit list of places, for prompts that were encoded in pieces.

    Args:
        offsets: (start, end) of every token in characters of the whole text, in order.
    """

    __slots__ = ("_ends", "_starts", "ids")

    def __init__(self, ids: list[int], offsets: Sequence[tuple[int, int]]) -> None:
        self.ids = ids
        self._starts = [start for start, _ in offsets]
        self._ends = [end for _, end in offsets]

    def tokens_within(self, start: int, end: int) -> TokenRange:
        first = bisect_left(self._starts, start)
        last = bisect_right(self._ends, end)
        crossing = max(first - bisect_right(self._ends, start), 0) + max(bisect_left(self._starts, end) - last, 0)
        return TokenRange(min(first, last), last, crossing)


class UnplacedPrompt:
    """Tokens of a tokenizer that does not know where they stand."""

    __slots__ = ("ids",)

    def __init__(self, ids: list[int]) -> None:
        self.ids = ids

    def tokens_within(self, start: int, end: int) -> TokenRange:
        raise Unsupported(
            t("this model's tokenizer does not say where its tokens stand in a text"),
            hint=t("Choose a model with a tokenizer.json, or learn the whole text."),
        )
