"""What training reads: batches of packed sequences as numpy arrays, by number, in a reproducible order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llmasos.data.packing import Packing, Utilisation, document_numbers, join, plan, position_ids
from llmasos.data.rendering.sample import RenderedSample
from llmasos.errors import InvalidRequest
from llmasos.i18n import t

IGNORED = -100
"""The label of tokens that are not learned, as PyTorch's cross entropy ignores it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """B sequences, padded to the longest, T tokens.

    Attributes:
        ids: (B, T) token ids, the padding id where there is no token.
        labels: (B, T) the id where the token is learned, else :data:`IGNORED`. Not shifted: label t belongs to token t
            and is predicted at position t - 1, as the models of transformers expect.
        position_ids: (B, T) beginning at 0 in every document.
        documents: (B, T) number of each token's document, from 1, and 0 for padding. Attention is allowed between
            tokens of the same number (block-diagonal), and causal within.
        token_type_ids: (B, T) 1 in the second text of a pair, else 0.
        lengths: for each sequence the (D,) lengths of its documents, for kernels that take sequence lengths.
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    documents: NDArray[np.int32]
    token_type_ids: NDArray[np.int64]
    lengths: tuple[NDArray[np.int64], ...]

    @property
    def trained_count(self) -> int:
        """Learned tokens, by which a loss over several batches is weighted."""
        return int(np.count_nonzero(self.labels != IGNORED))

    def uncounted(self) -> Batch:
        """The same tokens, none of which is learned."""
        return replace(self, labels=np.full_like(self.labels, IGNORED))

    def cumulative_lengths(self) -> NDArray[np.int32]:
        """(documents + 1,) where the documents of all sequences begin when these stand one after the other, without
        padding: ``cu_seqlens`` of attention kernels for sequences of different lengths."""
        return np.concatenate([[0], np.cumsum(np.concatenate(self.lengths))]).astype(np.int32)


def collate(samples: Sequence[RenderedSample], *, padding_id: int, multiple: int = 1) -> Batch:
    """Put sequences into one batch.

    Args:
        multiple: the length is rounded up to a multiple of this, which some devices compute faster.
    """
    longest = max(len(sample) for sample in samples)
    shape = (len(samples), -(-longest // multiple) * multiple)
    ids = np.full(shape, padding_id, np.int64)
    labels = np.full(shape, IGNORED, np.int64)
    positions = np.zeros(shape, np.int64)
    documents = np.zeros(shape, np.int32)
    types = np.zeros(shape, np.int64)
    lengths = []
    for index, sample in enumerate(samples):
        count = len(sample)
        ids[index, :count] = sample.ids
        labels[index, :count] = np.where(sample.trained, sample.ids, IGNORED)
        positions[index, :count] = position_ids(sample.boundaries, count)
        documents[index, :count] = document_numbers(sample.boundaries, count)
        if sample.pair_start is not None:
            types[index, sample.pair_start : count] = 1
        lengths.append(np.diff(np.append(sample.boundaries, count)))
    return Batch(ids, labels, positions, documents, types, tuple(lengths))


class PackedBatches:
    """Batches of a set of samples, by number: ``batches[i]``, ``len(batches)``, ``batches.epoch(2)``.

    The plan is made from the lengths alone; tokens are read when a batch is asked for, so the samples may lie in a
    memory-mapped file. A batch depends on its number, the seed and the epoch only, and training can go on from any.

    Args:
        samples: a sequence of samples; :class:`~llmasos.data.token_cache.CachedTokens` offers one for each part.
        lengths: their lengths, if these are known without reading them.
        batch_size: sequences of a batch.
        seed: of the order of the sequences, another one in every epoch; ``None`` keeps the order of the data.

    Raises:
        InvalidRequest: there is no sample, or one that is longer than ``capacity``.
    """

    def __init__(
        self,
        samples: Sequence[RenderedSample],
        *,
        capacity: int,
        packing: Packing,
        batch_size: int,
        padding_id: int,
        lengths: Sequence[int] | NDArray[np.int64] | None = None,
        seed: int | None = 0,
    ) -> None:
        if batch_size < 1:
            raise InvalidRequest(
                t("batch_size = {value}: allowed is 1 or more", value=batch_size), hint=t("Pass at least 1.")
            )
        self._samples = samples
        self.utilisation = Utilisation(capacity)
        known = lengths if lengths is not None else [len(sample) for sample in samples]
        self._plan = list(plan((int(length) for length in known), capacity, packing, self.utilisation))
        if not self._plan:
            raise InvalidRequest(
                t("there is nothing to learn: no sample is left"), hint=t("See the report for why rows were left out.")
            )
        self._batch_size = batch_size
        self._padding_id = padding_id
        self._seed = seed
        self._last_order: tuple[int, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return -(-len(self._plan) // self._batch_size)

    def __getitem__(self, number: int) -> Batch:
        """Batch ``number`` of the first epoch."""
        return self.batch(number, epoch=0)

    def batch(self, number: int, *, epoch: int) -> Batch:
        """Batch ``number`` of an epoch.

        Raises:
            IndexError: there is no such batch.
        """
        if not 0 <= number < len(self):
            raise IndexError(number)
        order = self._order(epoch)
        chosen = order[number * self._batch_size : (number + 1) * self._batch_size]
        sequences = [join([self._samples[index] for index in self._plan[place]]) for place in chosen]
        return collate(sequences, padding_id=self._padding_id)

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from ``start`` on."""
        for number in range(start, len(self)):
            yield self.batch(number, epoch=epoch)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if self._seed is None:
            return np.arange(len(self._plan))
        if self._last_order is None or self._last_order[0] != epoch:
            generator = np.random.default_rng([self._seed, epoch])
            self._last_order = epoch, generator.permutation(len(self._plan))
        return self._last_order[1]
