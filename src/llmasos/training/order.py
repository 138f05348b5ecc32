"""Which sequences stand in which step, micro-batch and process.

The sequences of a step are drawn without regard to their lengths, so that steps are as random as without grouping.
Within the step they are sorted by length and dealt out as micro-batches of like lengths, which need little padding.
A step's gradient is the same however it is divided; see :class:`~llmasos.training.objectives.objective.LossSum`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Share:
    """One process among those that share the work."""

    rank: int = 0
    world: int = 1


@dataclass(frozen=True)
class MicroBatch:
    """Numbers of sequences; ``counts`` is False where they only fill the place of a batch that is not there."""

    sequences: tuple[int, ...]
    counts: bool = True


class Order:
    """The order of a set of sequences.

    Args:
        lengths: (N,) tokens of each sequence.
        batch_size: sequences of a step, of all processes together.
        micro_batch_size: sequences of a micro-batch.
        seed: of the order, another one in every epoch; ``None``: sorted by length, the longest first, so that a
            lack of memory shows at once.
    """

    def __init__(
        self,
        lengths: Sequence[int] | NDArray[np.int64],
        *,
        batch_size: int,
        micro_batch_size: int,
        seed: int | None,
        share: Share,
    ) -> None:
        self._lengths = np.asarray(lengths, np.int64)
        self._batch_size = batch_size
        self._micro = micro_batch_size
        self._seed = seed
        self._share = share
        self._last: tuple[int, NDArray[np.int64]] | None = None

    @property
    def steps(self) -> int:
        """Steps of an epoch; the last may have fewer sequences."""
        return math.ceil(len(self._lengths) / self._batch_size)

    def __len__(self) -> int:
        """Micro-batches of an epoch for each process."""
        whole, rest = divmod(len(self._lengths), self._batch_size)
        return whole * self._rounds(self._batch_size) + self._rounds(rest)

    def _rounds(self, sequences: int) -> int:
        micro = math.ceil(sequences / self._micro)
        return math.ceil(micro / self._share.world)

    def of_step(self, step: int, *, epoch: int) -> list[MicroBatch]:
        """The micro-batches of a step of an epoch for this process.

        Raises:
            IndexError: there is no such step.
        """
        if not 0 <= step < self.steps:
            raise IndexError(step)
        micro = self._divided(step, epoch)
        rank, world = self._share.rank, self._share.world
        rounds = math.ceil(len(micro) / world)
        return [
            MicroBatch(micro[number]) if number < len(micro) else MicroBatch(micro[0][:1], counts=False)
            for number in range(rank, rounds * world, world)
        ]

    def whole_epoch(self) -> Iterator[tuple[int, ...]]:
        """The micro-batches of all processes in the first epoch."""
        for step in range(self.steps):
            yield from self._divided(step, 0)

    def _divided(self, step: int, epoch: int) -> list[tuple[int, ...]]:
        chosen = self._order(epoch)[step * self._batch_size : (step + 1) * self._batch_size]
        chosen = chosen[np.argsort(-self._lengths[chosen], kind="stable")]
        return [
            tuple(int(number) for number in chosen[start : start + self._micro])
            for start in range(0, len(chosen), self._micro)
        ]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if self._last is None or self._last[0] != epoch:
            self._last = epoch, self._permutation(epoch)
        return self._last[1]

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        if self._seed is None:
            return np.argsort(-self._lengths, kind="stable")
        return np.random.default_rng([self._seed, epoch]).permutation(len(self._lengths))
