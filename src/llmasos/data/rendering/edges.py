"""The special tokens that a tokenizer puts around texts without a template: ``[CLS] ... [SEP]``, ``<s> ...``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmasos.modeling.tokenizer import Tokenizer

_PROBE = ("a", "b")


@dataclass(frozen=True, slots=True)
class Edges:
    """Token ids before, between and after one text or two.

    Attributes:
        pair_begins_at: which of the tokens in ``between`` the second text's type begins after; ``None`` if the model
            does not tell the texts of a pair apart.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    between: tuple[int, ...] = ()
    pair_begins_at: int | None = None

    @property
    def count(self) -> int:
        return len(self.before) + len(self.between) + len(self.after)


def edges_of(tokenizer: Tokenizer) -> Edges:
    """What the tokenizer puts around one text."""
    bare = tokenizer.encode(_PROBE[0], add_special_tokens=False).ids
    whole = tokenizer.encode(_PROBE[0]).ids
    begin = _find(whole, bare, 0)
    return Edges(tuple(whole[:begin]), tuple(whole[begin + len(bare) :]))


def pair_edges_of(tokenizer: Tokenizer) -> Edges:
    """What the tokenizer puts around a pair of texts."""
    first, second = (tokenizer.encode(text, add_special_tokens=False).ids for text in _PROBE)
    whole = tokenizer.encode(*_PROBE)
    begin = _find(whole.ids, first, 0)
    middle = begin + len(first)
    begin_second = _find(whole.ids, second, middle)
    end = begin_second + len(second)
    types = whole.type_ids
    pair_begins_at = types.index(1) - middle if 1 in types else None
    ids = whole.ids
    return Edges(tuple(ids[:begin]), tuple(ids[end:]), tuple(ids[middle:begin_second]), pair_begins_at)


def _find(ids: Sequence[int], part: Sequence[int], start: int) -> int:
    for position in range(start, len(ids) - len(part) + 1):
        if list(ids[position : position + len(part)]) == list(part):
            return position
    raise AssertionError(f"the tokenizer changes a text's tokens when it adds special ones: {ids} {part}")
