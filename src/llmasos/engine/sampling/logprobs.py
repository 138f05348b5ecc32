"""Log-probabilities of tokens and their likeliest alternatives, of the raw distribution of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmasos.engine.request import TokenLogprob
from llmasos.engine.sampling.candidates import largest

if TYPE_CHECKING:
    import torch

_LOG2_E = np.float32(np.log2(np.e))


def token_logprobs(
    logits: torch.Tensor | NDArray[np.float32], tokens: Sequence[int], tops: Sequence[int]
) -> list[TokenLogprob]:
    """Log-probability of one token per row, with alternatives.

    Args:
        logits: (rows, vocabulary) float32 on the CPU, as the model gave them.
        tokens: one per row.
        tops: alternatives per row, best first; 0 for none.
    """
    rows = np.asarray(logits)
    most = min(max(tops, default=0), rows.shape[1])
    values, ids = largest(rows, max(most, 1))
    memory = np.empty(rows.shape[1], dtype=np.float32)
    found: list[TokenLogprob] = []
    for index, (token, top) in enumerate(zip(tokens, tops, strict=True)):
        best = values[index, 0]
        with np.errstate(invalid="ignore"):
            np.subtract(rows[index], best, out=memory)
            own = float(memory[token])
            np.multiply(memory, _LOG2_E, out=memory)
            normaliser = float(np.log(np.exp2(memory, out=memory).sum()))
            scores = (values[index, :top].astype(np.float64) - best - normaliser).tolist()
        alternatives = zip(ids[index, :top].tolist(), scores, strict=True)
        found.append(TokenLogprob(token, own - normaliser, tuple(pair for pair in alternatives if pair[1] > -np.inf)))
    return found
