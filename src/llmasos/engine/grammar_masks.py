"""Masks of a whole batch, computed by llguidance's threads while the forward pass runs."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmasos.engine.grammar import GrammarState
from llmasos.engine.sampling.masks import TokenMasks, words_of

if TYPE_CHECKING:
    from llguidance import LLExecutor


@dataclass(frozen=True, slots=True)
class MaskJob:
    """The rows of the sampler's batch that one output needs masks for."""

    state: GrammarState
    row: int
    """The first row; the masks of a draft are for this one and the ``len(draft)`` after it."""
    draft: Sequence[int] = ()
    """Speculated tokens, all allowed by the grammar (:meth:`GrammarState.accepted`)."""


class MaskWorker:
    """Computes masks beside the inference thread.

    Per pass: :meth:`start_masks` before the forward pass, :meth:`collect` after it. Between the two nobody touches
    the states.
    """

    def __init__(self, vocabulary_size: int, *, threads: int | None = None) -> None:
        """``threads`` of llguidance's pool; default: 80 % of the cores."""
        self._words = words_of(vocabulary_size)
        self._threads = threads
        self._executor: LLExecutor | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="llmasos-masks")
        self._bits = np.zeros((0, self._words), dtype=np.int32)
        self._jobs: list[MaskJob] = []
        self._running: Future[None] | None = None

    def start_masks(self, jobs: Sequence[MaskJob]) -> None:
        """Begin to compute; returns at once."""
        if self._running is not None:
            raise RuntimeError("the masks of the pass before were not collected")
        self._jobs = list(jobs)
        if not self._jobs:
            return
        rows = sum(1 + len(job.draft) for job in self._jobs)
        if len(self._bits) < rows:
            self._bits = np.empty((2 * rows, self._words), dtype=np.int32)
        # Rows after a draft's end token are left as they are; whatever is drawn there is not used.
        self._bits[:rows] = -1
        self._running = self._thread.submit(self._compute, self._bits)

    def _compute(self, bits: NDArray[np.int32]) -> None:
        from llguidance import LLExecutor

        if self._executor is None:
            self._executor = LLExecutor(self._threads)
        places: list[int] = []
        row = 0
        for job in self._jobs:
            places.append(row)
            row += 1 + len(job.draft)
        size = 4 * self._words
        plain = [(job.state.matcher, place) for job, place in zip(self._jobs, places, strict=True) if not job.draft]
        drafted = [
            (job.state.matcher, place, list(job.draft))
            for job, place in zip(self._jobs, places, strict=True)
            if job.draft
        ]
        if plain:
            self._executor.unsafe_compute_mask_ptr(plain, bits.ctypes.data, size, len(bits))
        if drafted:
            self._executor.unsafe_compute_mask_ptr_with_draft_token(drafted, bits.ctypes.data, size, len(bits))

    def collect(self) -> TokenMasks | None:
        """Wait for the masks; ``None`` if none were asked for. They are valid until the next :meth:`start_masks`."""
        if self._running is None:
            return None
        running, self._running = self._running, None
        running.result()
        rows: list[int] = []
        reasons: dict[int, str] = {}
        for job in self._jobs:
            error = job.state.error
            if error is not None:
                # llguidance then allows the end, which would pass an incomplete output off as complete.
                self._bits[len(rows) : len(rows) + 1 + len(job.draft)] = 0
                reasons.update(dict.fromkeys(range(job.row, job.row + 1 + len(job.draft)), error))
            rows += range(job.row, job.row + 1 + len(job.draft))
        self._jobs = []
        return TokenMasks(rows, self._bits[: len(rows)], reasons)

    def close(self) -> None:
        """Stop the thread."""
        self._thread.shutdown()
