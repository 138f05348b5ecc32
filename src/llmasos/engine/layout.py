"""From a plan (who computes how many rows) to the batch that a runner gets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmasos.engine.batch import Batch, SequenceSlice
from llmasos.engine.sequence import Sequence

Plan = list[tuple[Sequence, int]]


@dataclass(slots=True)
class Part:
    """One sequence's part of a pass, in the order of the batch."""

    sequence: Sequence
    length: int
    """Rows, drafts included."""
    scored: int
    """Rows of logits for log-probabilities of the prompt, which come before those for choosing."""
    choices: int
    """Rows of logits for choosing tokens: 0 while a prompt is unfinished, else 1 + drafts."""


def lay_out(plan: Plan) -> tuple[Batch, list[Part]]:
    """Lay out the rows of a pass. ``sequence.draft`` follows the sequence's own tokens."""
    import torch

    tokens: list[int] = []
    positions: list[int] = []
    slices: list[SequenceSlice] = []
    rows: list[int] = []
    parts: list[Part] = []
    for sequence, length in plan:
        context = sequence.computed
        start = len(tokens)
        slices.append(
            SequenceSlice(start, length, context, sequence.table, sequence.adapter, sequence.id, sequence.steering)
        )
        known = sequence.tokens
        end = context + length
        if length == 1:
            tokens.append(known[context])
            positions.append(context)
        else:
            tokens += known[context:end]
            tokens += sequence.draft
            positions += range(context, end)
        scored = 0
        if sequence.rows_wanted_from is not None:  # the row of position p is about the token at p + 1
            first = max(context, sequence.rows_wanted_from)
            scored = max(0, min(end, sequence.prompt_length - 1) - first)
            rows += range(start + first - context, start + first - context + scored)
        choices = 0
        if end == len(known) + len(sequence.draft):
            choices = 1 + len(sequence.draft)
            rows += range(len(tokens) - choices, len(tokens))
        parts.append(Part(sequence, length, scored, choices))
    batch = Batch(
        torch.from_numpy(np.array(tokens, dtype=np.int64)),
        torch.from_numpy(np.array(positions, dtype=np.int64)),
        slices,
        torch.from_numpy(np.array(rows, dtype=np.int64)),
    )
    return batch, parts
