"""Several documents in one sequence, so that no computation is spent on padding.

Best-fit decreasing puts the longest documents first, each into the fullest sequence that still has room for it (Ding et
al., "Fewer Truncations Improve Language Modeling", 2024). Documents are never cut. They arrive in a stream and are
packed a window at a time, so that memory does not grow with their number, and the result depends on nothing but their
lengths and order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Literal, TypeAlias, assert_never

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from llmasos.data.rendering.sample import RenderedSample
from llmasos.errors import InvalidRequest
from llmasos.i18n import t


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BestFit(_Options):
    """Best-fit decreasing: the fullest sequences."""

    kind: Literal["best_fit"] = "best_fit"
    window: int = Field(8192, ge=1, description="Documents that are looked at together; more pack better.")


class Sequential(_Options):
    """Documents in their order, a new sequence where the next one does not fit."""

    kind: Literal["sequential"] = "sequential"


class Unpacked(_Options):
    """One document a sequence."""

    kind: Literal["none"] = "none"


Packing: TypeAlias = Annotated[BestFit | Sequential | Unpacked, Field(discriminator="kind")]


@dataclass(slots=True)
class Utilisation:
    """How full sequences are; filled while packing."""

    capacity: int
    documents: int = 0
    sequences: int = 0
    tokens: int = 0

    @property
    def share(self) -> float:
        """Tokens per place, 1 without padding; 0 without sequences."""
        return self.tokens / (self.sequences * self.capacity) if self.sequences else 0.0


def plan(
    lengths: Iterable[int], capacity: int, packing: Packing, utilisation: Utilisation | None = None
) -> Iterator[tuple[int, ...]]:
    """Which documents stand together.

    Args:
        lengths: tokens of each document, in order.
        capacity: tokens of a sequence.
        utilisation: filled on the way.

    Yields:
        Numbers of documents, ascending within a sequence; every document once. Sequences of a window come in the order
        of their first documents.

    Raises:
        InvalidRequest: a document is longer than a sequence, or empty.
    """
    used = utilisation or Utilisation(capacity)
    checked = _checked(lengths, capacity, used)
    match packing:
        case BestFit():
            bins = _best_fit(checked, capacity, packing.window)
        case Sequential():
            bins = _sequential(checked, capacity)
        case Unpacked():
            bins = ((number,) for number, _ in checked)
        case _:
            assert_never(packing)
    for documents in bins:
        used.sequences += 1
        yield documents


def _checked(lengths: Iterable[int], capacity: int, used: Utilisation) -> Iterator[tuple[int, int]]:
    for number, length in enumerate(lengths):
        if not 1 <= length <= capacity:
            raise InvalidRequest(
                t("document {number} has {length} tokens; a sequence holds 1 to {capacity}",
                  number=number, length=length, capacity=capacity),
                hint=t("Render with max_length={capacity} and an overlong policy first.", capacity=capacity),
            )  # fmt: skip
        used.documents += 1
        used.tokens += length
        yield number, int(length)


def _sequential(documents: Iterator[tuple[int, int]], capacity: int) -> Iterator[tuple[int, ...]]:
    current: list[int] = []
    room = capacity
    for number, length in documents:
        if length > room:
            yield tuple(current)
            current, room = [], capacity
        current.append(number)
        room -= length
    if current:
        yield tuple(current)


def _best_fit(documents: Iterator[tuple[int, int]], capacity: int, window: int) -> Iterator[tuple[int, ...]]:
    while batch := list(islice(documents, window)):
        yield from _best_fit_window(batch, capacity)


def _best_fit_window(batch: Sequence[tuple[int, int]], capacity: int) -> list[tuple[int, ...]]:
    bins: list[list[int]] = []
    by_room: dict[int, deque[int]] = {}  # bins with this much room, oldest first
    rooms = 0  # bit r is set while there is a bin with room r: the smallest sufficient room is one shift away
    for number, length in sorted(batch, key=lambda document: -document[1]):  # stable: ties keep their order
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            queue = by_room[room]
            chosen = queue.popleft()
            if not queue:
                rooms &= ~(1 << room)
            bins[chosen].append(number)
        else:
            room, chosen = capacity, len(bins)
            bins.append([number])
        left = room - length
        if left:
            by_room.setdefault(left, deque()).append(chosen)
            rooms |= 1 << left
    return sorted(tuple(sorted(documents)) for documents in bins)


def join(samples: Sequence[RenderedSample]) -> RenderedSample:
    """Documents one after the other in one sequence, with their boundaries.

    Raises:
        InvalidRequest: a sample is a pair of texts, which has types that a sequence cannot hold.
    """
    if len(samples) == 1:
        return samples[0]
    if any(sample.pair_start is not None for sample in samples):
        raise InvalidRequest(
            t("pairs of texts cannot be packed"), hint=t("Choose packing: none for models that classify pairs.")
        )
    starts = np.cumsum([0, *(len(sample) for sample in samples[:-1])])
    boundaries = np.concatenate([sample.boundaries + start for sample, start in zip(samples, starts, strict=True)])
    return RenderedSample(
        np.concatenate([sample.ids for sample in samples]),
        np.concatenate([sample.trained for sample in samples]),
        boundaries.astype(np.int64),
    )


def pack(
    samples: Iterable[RenderedSample], capacity: int, packing: Packing, utilisation: Utilisation | None = None
) -> Iterator[RenderedSample]:
    """Pack a stream of samples; at most one window of them is held.

    Raises:
        InvalidRequest: see :func:`plan` and :func:`join`.
    """
    waiting: dict[int, RenderedSample] = {}

    def lengths() -> Iterator[int]:
        for number, sample in enumerate(samples):
            waiting[number] = sample
            yield len(sample)

    for documents in plan(lengths(), capacity, packing, utilisation):
        yield join([waiting.pop(number) for number in documents])


def position_ids(boundaries: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """(length,) positions that begin at 0 in every document."""
    positions = np.arange(length, dtype=np.int64)
    return positions - np.repeat(boundaries, np.diff(np.append(boundaries, length)))


def document_numbers(boundaries: NDArray[np.int64], length: int) -> NDArray[np.int32]:
    """(length,) the number of each token's document, from 1. Attention is allowed where numbers are equal."""
    sizes = np.diff(np.append(boundaries, length))
    return np.repeat(np.arange(1, len(boundaries) + 1, dtype=np.int32), sizes)
