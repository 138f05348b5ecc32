"""The batches that objectives read, as numpy arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from llmasos.data.batches import IGNORED, Batch
from llmasos.training.order import Order


@dataclass(frozen=True, slots=True)
class ClassBatch:
    """Texts, or pairs of texts, with their classes.

    Attributes:
        text: the texts, one document a row; :attr:`~llmasos.data.batches.Batch.documents` is 0 at padding.
        classes: (B,) number of each text's class; -100 where it does not count.
    """

    text: Batch
    classes: NDArray[np.int64]

    def uncounted(self) -> ClassBatch:
        """The same texts, without a class that counts."""
        return replace(self, classes=np.full_like(self.classes, IGNORED))


@dataclass(frozen=True, slots=True)
class PairBatch:
    """A chosen and a rejected answer to each prompt.

    Attributes:
        chosen, rejected: (B, T) and (B, T'), one document a row.
        counted: (B,) whether the pair counts.
    """

    chosen: Batch
    rejected: Batch
    counted: NDArray[np.bool_]

    def uncounted(self) -> PairBatch:
        """The same texts, none of which counts."""
        return replace(self, counted=np.zeros_like(self.counted))


@dataclass(frozen=True, slots=True)
class TransferBatch:
    """Source texts and the target texts that they become.

    Attributes:
        source: (B, S).
        target: (B, T); its labels are the tokens themselves, -100 at padding and where a row does not count.
    """

    source: Batch
    target: Batch

    def uncounted(self) -> TransferBatch:
        """The same texts, nothing of which is learned."""
        return replace(self, target=self.target.uncounted())


AnyBatch: TypeAlias = Batch | ClassBatch | PairBatch | TransferBatch


class Batches(Protocol):
    """Micro-batches of one process, by number: the same for the same seed, whenever and wherever they are asked for.

    Every process has equally many. Where the last step of an epoch has none left for a process, it gets a batch whose
    units do not count (:meth:`Objective.count` is 0), so that all processes go through the same steps.
    """

    def __len__(self) -> int:
        """Micro-batches of an epoch."""
        ...

    @property
    def steps(self) -> int:
        """Optimiser steps of an epoch."""
        ...

    def of_step(self, step: int, *, epoch: int) -> list[AnyBatch]:
        """The micro-batches of one optimiser step of an epoch, counted from 0, for this process."""
        ...

    def rows_of_step(self, step: int, *, epoch: int) -> list[tuple[int, ...]]:
        """For each of those micro-batches the numbers of the data rows in it, from 0."""
        ...

    def all(self) -> Iterator[AnyBatch]:
        """Every micro-batch of this process once, in order; for validation."""
        ...


class BatchSet(ABC):
    """Batches in an order; a subclass puts the sequences of a micro-batch together. Implements :class:`Batches`."""

    def __init__(self, order: Order) -> None:
        self.order = order

    @abstractmethod
    def make(self, sequences: Sequence[int], *, counts: bool) -> AnyBatch:
        """A micro-batch of some sequences by number; if it does not count, nothing of it is learned."""

    @abstractmethod
    def rows(self, sequences: Sequence[int]) -> tuple[int, ...]:
        """Numbers of the data rows in some sequences."""

    def __len__(self) -> int:
        return len(self.order)

    @property
    def steps(self) -> int:
        return self.order.steps

    def of_step(self, step: int, *, epoch: int) -> list[AnyBatch]:
        return [self.make(item.sequences, counts=item.counts) for item in self.order.of_step(step, epoch=epoch)]

    def rows_of_step(self, step: int, *, epoch: int) -> list[tuple[int, ...]]:
        return [self.rows(item.sequences) for item in self.order.of_step(step, epoch=epoch)]

    def all(self) -> Iterator[AnyBatch]:
        for step in range(self.steps):
            yield from self.of_step(step, epoch=0)


def tokens_of(batch: AnyBatch) -> tuple[int, int]:
    """(real tokens, places with padding) of a batch."""
    parts = _parts(batch)
    return sum(int(np.count_nonzero(part.documents)) for part in parts), sum(part.ids.size for part in parts)


def ids_of(batch: AnyBatch) -> list[list[int]]:
    """The token ids of every row without padding, for messages that name a batch; chosen answers and sources first."""
    return [part.ids[row][part.documents[row] > 0].tolist() for part in _parts(batch) for row in range(len(part.ids))]


def _parts(batch: AnyBatch) -> tuple[Batch, ...]:
    match batch:
        case ClassBatch():
            return (batch.text,)
        case PairBatch():
            return (batch.chosen, batch.rejected)
        case TransferBatch():
            return (batch.source, batch.target)
        case _:
            return (batch,)
