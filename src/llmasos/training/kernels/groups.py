"""Documents of like length side by side, so that one operation computes all of them.

A batch of short texts computed one text at a time is thousands of small operations, whose calls cost more than their
arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

_PADDED_SHARE = 4
_PADDED_TOKENS = 12
"""A document may be padded by a quarter of the longest in its group, and always by so many tokens."""
_ROUND, _ROUNDED = 16, 256
"""Lengths up to the second are multiples of the first: oneDNN keeps code for every shape of a product in bfloat16."""
_MOST_PAIRS = 1 << 17
"""Pairs of tokens in a group, in each head: their scores are in memory at once."""


@dataclass(frozen=True)
class Group:
    """Documents of a row, padded to one length.

    Attributes:
        places: (N * L,) of their tokens in the row, document by document; padding repeats the first token.
        documents: N.
        length: L.
        real: (N, L), false where padding is; ``None``: there is none.
        kept: (T,) places of the real tokens in ``places``; ``None``: all.
    """

    places: Tensor
    documents: int
    length: int
    real: Tensor | None
    kept: Tensor | None

    def take(self, row: Tensor) -> Tensor:
        """(T, ...) of a row to (N, L, ...) of the group."""
        return row.index_select(0, self.places).view(self.documents, self.length, *row.shape[1:])

    def put(self, values: Tensor, row: Tensor) -> None:
        """Write (N, L, ...) of the group to their places in a row (T, ...); padding is dropped."""
        flat = values.flatten(0, 1)
        if self.kept is None:
            row[self.places] = flat
        else:
            row[self.places[self.kept]] = flat[self.kept]


@lru_cache(maxsize=32)
def groups_of(lengths: tuple[int, ...], device: torch.device) -> tuple[Group, ...]:
    """Divide the documents of a row into groups.

    Every layer of a model asks for the same, forward and backward; that is why answers are kept.
    """
    starts = [0]
    for length in lengths[:-1]:
        starts.append(starts[-1] + length)
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    found: list[list[int]] = []
    for number in order:
        longest = lengths[found[-1][0]] if found else 0
        fits = found and longest - lengths[number] <= max(longest // _PADDED_SHARE, _PADDED_TOKENS)
        if fits and (len(found[-1]) + 1) * longest * longest <= _MOST_PAIRS:
            found[-1].append(number)
        else:
            found.append([number])
    return tuple(_group([(starts[number], lengths[number]) for number in sorted(members)], device) for members in found)


def _group(documents: list[tuple[int, int]], device: torch.device) -> Group:
    longest = max(length for _, length in documents)
    if longest <= _ROUNDED:
        longest = -(-longest // _ROUND) * _ROUND
    steps = torch.arange(longest)
    starts = torch.tensor([start for start, _ in documents])
    real = steps[None] < torch.tensor([length for _, length in documents])[:, None]
    places = torch.where(real, starts[:, None] + steps[None], starts[:, None]).flatten()
    padded = not bool(real.all())
    return Group(
        places.to(device),
        len(documents),
        longest,
        real.to(device) if padded else None,
        real.flatten().nonzero().flatten().to(device) if padded else None,
    )
