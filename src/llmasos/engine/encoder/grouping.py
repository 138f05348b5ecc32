"""Which waiting texts share the next pass of an encoder.

A pass computes rows of one length, so short texts beside a long one are padded. The first in line is always served;
from it on the batch grows to its neighbours in length for as long as the padding that one causes costs less than a pass
of its own, and within a budget of tokens, padding counted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

PASS_TOKENS = 32
"""What a pass costs beside its tokens, in tokens. MiniLM in float32 takes 5.4 ms a pass and 0.23 ms a token on one
core, which makes 24; with more cores the tokens get cheaper and the pass does not."""


@dataclass(frozen=True, slots=True)
class Length:
    """A waiting text, as far as batches are concerned."""

    tokens: int
    kind: int = 0
    """Only texts of one kind share a pass."""
    most_rows: int | None = None
    """Most texts of a pass that this one may be in."""


def choose_batch(line: Sequence[Length], *, most_tokens: int, most_rows: int) -> list[int]:
    """Places in ``line`` of the texts of the next pass, shortest first.

    Args:
        line: who waits, in order of service; not empty.
        most_tokens: budget of a pass, padding counted; a text that exceeds it goes alone.
        most_rows: most texts of a pass.
    """
    first = line[0]
    alike = [place for place, item in enumerate(line) if item.kind == first.kind]
    order = sorted(alike, key=lambda place: (line[place].tokens, place))
    start = bisect_left(order, (first.tokens, 0), key=lambda place: (line[place].tokens, place))
    low, high = start, start + 1  # order[low:high] is the batch
    limit = min(most_rows, first.most_rows or most_rows)
    while True:
        longest = line[order[high - 1]].tokens
        rows = high - low
        options = []  # (padding caused, longest afterwards, whether at the low end)
        if low > 0:
            options.append((longest - line[order[low - 1]].tokens, longest, True))
        if high < len(order):
            longer = line[order[high]].tokens
            options.append((rows * (longer - longest), longer, False))
        for padding, width, down in sorted(options):
            candidate = line[order[low - 1] if down else order[high]]
            allowed = min(limit, candidate.most_rows or limit)
            if padding <= PASS_TOKENS and (rows + 1) * width <= most_tokens and rows + 1 <= allowed:
                limit = allowed
                low, high = (low - 1, high) if down else (low, high + 1)
                break
        else:
            return order[low:high]
