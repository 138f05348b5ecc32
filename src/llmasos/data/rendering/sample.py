"""What rendering gives: token ids, which of them are learned, and where documents begin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from llmasos.data.step import Rejection

Ids = NDArray[np.int32]
Flags = NDArray[np.bool_]

_START: NDArray[np.int64] = np.zeros(1, np.int64)
_START.flags.writeable = False


@dataclass(frozen=True, slots=True)
class RenderedSample:
    """A sequence of tokens.

    Attributes:
        ids: (T,) token ids.
        trained: (T,) whether token t is a target, predicted from the tokens before it in its document. The first
            token of a document never is, except in a ``target``, where the decoder's start token comes before it.
        boundaries: (D,) where documents begin; the first is 0. Attention and positions do not cross a boundary.
        pair_start: where the second of a pair of texts begins (``token_type_ids`` 1), ``None`` without a pair.
    """

    ids: Ids
    trained: Flags
    boundaries: NDArray[np.int64] = field(default_factory=lambda: _START)
    pair_start: int | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def trained_count(self) -> int:
        """How many tokens are targets."""
        return int(np.count_nonzero(self.trained))


@dataclass(frozen=True, slots=True)
class RenderedRow:
    """All sequences of one sample.

    Attributes:
        row: number of the row among those that were rendered, from 0; several samples can come of one row.
        parts: by name: ``text``; ``chosen`` and ``rejected`` of a preference; ``source`` and ``target`` of parallel
            text. Source and classified texts have no targets.
        label: number of the class, or 1 and 0 for desirable and undesirable answers (KTO).
    """

    row: int
    parts: Mapping[str, RenderedSample]
    label: int | None = None


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that gave no sample, and why."""

    row: int
    rejection: Rejection
