"""The sequences that a sample becomes, before and after their texts are encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from llmasos.data.rendering.edges import Edges
from llmasos.data.rendering.sample import Flags, Ids, RenderedSample
from llmasos.data.rendering.turns import MarkedConversation
from llmasos.modeling.prompt import EncodedPrompt, Prompt
from llmasos.modeling.tokenizer import longest_first


class LearnedText(NamedTuple):
    """Tokens ``start`` to ``end`` are learned; ``end_token`` ends them, learned itself or not, or is ``None``."""

    start: int
    end: int
    end_token: str | None
    end_learned: bool


@dataclass(slots=True)
class Encoded:
    """A sequence of tokens that may still be too long.

    Attributes:
        learned: the learned texts, for the account.
        crossing: tokens across the edge of a learned text.
        divisible: whether it may be divided into several samples.
        fixed_end: tokens at the end that stay when the sequence is cut before them.
        beginning_stays: whether it is only ever cut at the end.
        pair: lengths of the two texts of a pair and what stands around them, where cutting takes from the longer one.
    """

    ids: Ids
    trained: Flags
    learned: list[LearnedText] = field(default_factory=list)
    crossing: int = 0
    divisible: bool = False
    fixed_end: int = 0
    beginning_stays: bool = False
    pair: tuple[int, int, Edges] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def as_sample(self) -> RenderedSample:
        return RenderedSample(self.ids, self.trained, pair_start=self._pair_start())

    def cut(self, limit: int, side: str, first_stays: bool) -> Encoded:
        """The sequence with at most ``limit`` tokens."""
        if self.pair is not None:
            return self._cut_pair(limit)
        side = "end" if self.beginning_stays else side
        count = len(self.ids)
        fixed = min(self.fixed_end, limit)
        if side == "end":
            kept = np.r_[0 : limit - fixed, count - fixed : count]
        else:
            head = 1 if first_stays else 0
            kept = np.r_[0:head, count - limit + head : count]
        trained = self.trained[kept]
        if side == "start":
            trained[:1] = False
        first, last = (0, limit - fixed) if side == "end" else (int(kept[-1]) + 1 - limit, count)
        learned = [
            text._replace(end_token=text.end_token if text.end <= last else None)
            for text in self.learned
            if text.start < last and text.end > first
        ]
        return Encoded(self.ids[kept], trained, learned, self.crossing)

    def pieces(self, limit: int, overlap: int) -> list[Encoded]:
        """The sequence in pieces of at most ``limit`` tokens; each repeats the last ``overlap`` tokens before it."""
        found: list[Encoded] = []
        for start in range(0, len(self.ids) - overlap, limit - overlap):
            trained = self.trained[start : start + limit].copy()
            if start:
                trained[:overlap] = False
            found.append(Encoded(self.ids[start : start + limit], trained))
        return found

    def _pair_start(self) -> int | None:
        if self.pair is None:
            return None
        first, _, edges = self.pair
        begins = edges.pair_begins_at
        return None if begins is None else len(edges.before) + first + begins

    def _cut_pair(self, limit: int) -> Encoded:
        assert self.pair is not None
        first, second, edges = self.pair
        keep_first, keep_second = longest_first(first, second, max(limit - edges.count, 0))
        begin = len(edges.before)
        begin_second = begin + first + len(edges.between)
        after = begin_second + second
        kept = np.r_[0 : begin + keep_first, begin + first : begin_second + keep_second, after : len(self)]
        return Encoded(self.ids[kept], self.trained[kept], pair=(keep_first, keep_second, edges))


class Part(Protocol):
    """A sequence to be: texts to encode, and how their tokens are put together."""

    @property
    def prompts(self) -> Sequence[Prompt]:
        """Texts to encode, all parts of many rows in one batch."""
        ...

    def assemble(self, encoded: Sequence[EncodedPrompt]) -> Encoded:
        """The sequence, given the tokens of :attr:`prompts`."""
        ...


@dataclass(frozen=True, slots=True)
class ConversationPart:
    """A conversation rendered by the chat template."""

    conversation: MarkedConversation
    divisible: bool = True

    @property
    def prompts(self) -> Sequence[Prompt]:
        return (self.conversation.prompt,)

    def assemble(self, encoded: Sequence[EncodedPrompt]) -> Encoded:
        ids = np.array(encoded[0].ids, np.int32)
        result = Encoded(ids, np.zeros(len(ids), np.bool_), divisible=self.divisible)
        for turn in self.conversation.turns:
            start, end, crossing = encoded[0].tokens_within(turn.start, turn.end)
            result.trained[start:end] = True
            result.crossing += crossing
            result.learned.append(LearnedText(start, end, turn.end_token, turn.end_learned))
        result.trained[:1] = False
        return result


@dataclass(frozen=True, slots=True)
class PlainPart:
    """A text without a template, after a prompt or alone.

    Attributes:
        prompt: the text before it that is not learned, and that the model is given as its tokens.
        completion: encoded as what follows the tokens of the prompt; ``None``: the prompt itself is what is learned.
        end: text and id of the token that ends it.
    """

    prompt: Prompt
    edges: Edges
    completion: tuple[int, ...] | None = None
    end: tuple[str, int] | None = None
    learn_prompt: bool = False
    divisible: bool = True

    @property
    def prompts(self) -> Sequence[Prompt]:
        return (self.prompt,)

    def assemble(self, encoded: Sequence[EncodedPrompt]) -> Encoded:
        before = [*self.edges.before, *encoded[0].ids]
        if self.completion is None:
            after = [*self.edges.after]
            start = 0 if self.learn_prompt else len(self.edges.before)
        else:
            after = []
            start = 0 if self.learn_prompt else len(before)
            before += self.completion
        if self.end is not None and after[-1:] != [self.end[1]]:
            after.append(self.end[1])
        ids = np.array([*before, *after], np.int32)
        trained = np.zeros(len(ids), np.bool_)
        trained[start:] = True
        trained[:1] = False
        token = self.end[0] if self.end is not None else None
        learned = LearnedText(start, len(ids), token, token is not None)
        return Encoded(ids, trained, [learned], divisible=self.divisible)


@dataclass(frozen=True, slots=True)
class ClassifiedPart:
    """A text, or a pair of texts, that is read and not learned."""

    texts: tuple[Prompt, ...]
    edges: Edges

    @property
    def prompts(self) -> Sequence[Prompt]:
        return self.texts

    def assemble(self, encoded: Sequence[EncodedPrompt]) -> Encoded:
        first, second = encoded[0].ids, encoded[1].ids if len(encoded) > 1 else []
        edges = self.edges
        ids = np.array([*edges.before, *first, *edges.between, *second, *edges.after], np.int32)
        return Encoded(ids, np.zeros(len(ids), np.bool_), pair=(len(first), len(second), edges))


@dataclass(frozen=True, slots=True)
class TokensPart:
    """A sequence whose tokens are known: source or target of an encoder-decoder model."""

    ids: Sequence[int]
    learned: bool
    fixed_end: int
    end_token: str | None

    @property
    def prompts(self) -> Sequence[Prompt]:
        return ()

    def assemble(self, encoded: Sequence[EncodedPrompt]) -> Encoded:
        ids = np.array(self.ids, np.int32)
        if not self.learned:
            return Encoded(ids, np.zeros(len(ids), np.bool_), fixed_end=self.fixed_end, beginning_stays=True)
        learned = LearnedText(0, len(ids), self.end_token, self.end_token is not None)
        return Encoded(ids, np.ones(len(ids), np.bool_), [learned], beginning_stays=True)
