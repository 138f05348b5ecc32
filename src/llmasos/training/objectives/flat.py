"""Batches as models are called with them: all documents in one row without padding, or padded rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmasos.data.batches import IGNORED, Batch


@dataclass(frozen=True, slots=True)
class Flat:
    """The documents of a batch one after the other, T tokens.

    Attributes:
        ids, positions, types: (T,).
        lengths: of the documents.
        predicting: (N,) places whose next token is learned, ``targets`` (N,) these tokens.
    """

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    types: NDArray[np.int64]
    lengths: tuple[int, ...]
    predicting: NDArray[np.int64]
    targets: NDArray[np.int64]


def flatten(batch: Batch) -> Flat:
    """Take the padding out of a batch.

    The first token of a document is never predicted, as no token of its document comes before it.
    """
    real = batch.documents > 0
    labels = batch.labels[real]
    lengths = np.concatenate(batch.lengths)
    labels[np.cumsum(lengths) - lengths] = IGNORED
    learned = np.flatnonzero(labels != IGNORED)
    return Flat(
        batch.ids[real],
        batch.position_ids[real],
        batch.token_type_ids[real],
        tuple(int(length) for length in lengths),
        learned - 1,
        labels[learned],
    )


def padded_arguments(batch: Batch, device: torch.device, *, types: bool = False) -> dict[str, Tensor]:
    """What a model is called with that gets padded rows, one document each."""
    assert all(len(lengths) == 1 for lengths in batch.lengths), "documents would see each other"
    arguments = {
        "input_ids": torch.from_numpy(batch.ids).to(device),
        "attention_mask": torch.from_numpy((batch.documents > 0).astype(np.int64)).to(device),
    }
    if types:
        arguments["token_type_ids"] = torch.from_numpy(batch.token_type_ids).to(device)
    return arguments
