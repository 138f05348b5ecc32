"""The batch sampler: one call chooses the next token of every row. See :mod:`llmasos.engine.sampling`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmasos.engine.request import TokenLogprob
from llmasos.engine.sampling.batch import (
    BROKEN,
    Settings,
    draw_candidates,
    draw_dense,
    draw_general,
    draw_greedy,
    draw_nucleus,
    draw_typical,
)
from llmasos.engine.sampling.logprobs import token_logprobs
from llmasos.engine.sampling.masks import TokenMasks, apply_masks
from llmasos.engine.sampling.state import Method, SamplingState
from llmasos.i18n import t

if TYPE_CHECKING:
    import torch

__all__ = ["SampledBatch", "Sampler", "SamplingState", "TokenMasks"]

_DRAWS = {
    Method.DENSE: draw_dense,
    Method.NUCLEUS: draw_nucleus,
    Method.CANDIDATES: draw_candidates,
    Method.TYPICAL: draw_typical,
    Method.GENERAL: draw_general,
}
Draft = Sequence[int]


@dataclass(slots=True)
class SampledBatch:
    """The choice for every row."""

    tokens: list[int]
    """One per row; -1 where :attr:`failures` has an entry."""
    failures: dict[int, str] = field(default_factory=dict)
    """Row -> why nothing can be chosen from it."""
    logprobs: list[TokenLogprob | None] | None = None
    """One per row if any state wants them; ``None`` for rows whose state does not."""


class Sampler:
    """Chooses tokens; keeps no state of its own between calls."""

    def sample(
        self,
        logits: torch.Tensor,
        states: Sequence[SamplingState],
        *,
        drafts: Sequence[Draft] | None = None,
        assumed: Sequence[Draft] | None = None,
        masks: TokenMasks | None = None,
        logprobs: bool = True,
    ) -> SampledBatch:
        """Choose one token per row. States are read, not advanced: call :meth:`SamplingState.append` for the tokens
        that are taken.

        Args:
            logits: (rows, vocabulary) float32 on any device; may be changed in place.
            states: one per sequence.
            drafts: speculated tokens per sequence. A sequence with a draft of ``k`` tokens has ``1 + k``
                consecutive rows, the j-th being the logits after the draft's first j tokens; its choice is what that
                position gets if those j tokens come to stand. Default: no drafts, one row per sequence.
            assumed: instead of drafts: one row per sequence, being the logits after these tokens.
            masks: allowed tokens of some rows.
            logprobs: whether states that want log-probabilities get them.
        """
        row_states, ahead, prefixes = states, None, None
        if assumed is not None:
            ahead, prefixes = [len(draft) for draft in assumed], assumed
        elif drafts is not None and any(drafts):
            row_states = [state for state, draft in zip(states, drafts, strict=True) for _ in range(len(draft) + 1)]
            ahead = [length for draft in drafts for length in range(len(draft) + 1)]
            prefixes = [draft[:length] for draft in drafts for length in range(len(draft) + 1)]
        if logits.shape[0] != len(row_states):
            raise ValueError(f"{logits.shape[0]} rows of logits for {len(row_states)} rows of states")
        if not row_states:
            return SampledBatch([])

        plain = masks is None and not any(state.edits for state in states)
        wanting = [row for row, state in enumerate(row_states) if state.wants_logprob] if logprobs else []
        if plain and not wanting and logits.is_cuda and all(state.method is Method.GREEDY for state in states):
            return _greedy_on_device(logits)
        logits = logits.cpu().contiguous()
        array = raw = logits.numpy()
        if wanting and not (plain and len(wanting) == len(row_states)):
            raw = array[wanting]  # a copy, taken before anything is edited
        if not plain:
            _edit(array, row_states, prefixes, masks)

        tokens = np.full(len(row_states), BROKEN, dtype=np.int64)
        groups: dict[Method, list[int]] = {}
        for row, state in enumerate(row_states):
            groups.setdefault(state.method, []).append(row)
        for method, rows in groups.items():
            together = len(rows) == len(row_states)
            chosen = array if together else array[rows]
            if method is Method.GREEDY:
                tokens[rows] = draw_greedy(chosen)
                continue
            settings = Settings([row_states[row].parameters for row in rows])
            words = np.array([row_states[row].word(ahead[row] if ahead else 0) for row in rows], dtype=np.uint64)
            tokens[rows] = _DRAWS[method](chosen, settings, words)

        result = SampledBatch(tokens.tolist())
        for row in np.flatnonzero(tokens == BROKEN).tolist():
            known = masks.reasons.get(row) if masks is not None else None
            result.failures[row] = known or _reason(logits[row])
        if wanting:
            result.logprobs = _logprobs(raw, result, row_states, wanting)
        return result


def _greedy_on_device(logits: torch.Tensor) -> SampledBatch:
    """All rows greedy on an accelerator: only the choices travel to the CPU."""
    best, tokens = logits.max(dim=-1)
    result = SampledBatch(tokens.tolist())
    for row, value in enumerate(best.tolist()):
        if not np.isfinite(value):
            result.tokens[row] = BROKEN
            result.failures[row] = _reason(logits[row])
    return result


def _edit(
    rows: NDArray[np.float32],
    states: Sequence[SamplingState],
    prefixes: Sequence[Draft] | None,
    masks: TokenMasks | None,
) -> None:
    """Steps 1 to 4, in place."""
    if masks is not None:
        apply_masks(rows, masks)
    for row, state in enumerate(states):
        if state.edits:
            state.edit(rows[row], prefixes[row] if prefixes else ())


def _logprobs(
    raw: NDArray[np.float32], result: SampledBatch, states: Sequence[SamplingState], wanting: Sequence[int]
) -> list[TokenLogprob | None]:
    """Raw log-probabilities of the choices of the rows that want them; ``raw`` holds those rows only."""
    chosen = [max(result.tokens[row], 0) for row in wanting]
    tops = [states[row].parameters.logprobs or 0 for row in wanting]
    found: list[TokenLogprob | None] = [None] * len(states)
    for row, entry in zip(wanting, token_logprobs(raw, chosen, tops), strict=True):
        if row not in result.failures:
            found[row] = entry
    return found


def _reason(row: torch.Tensor) -> str:
    """Why nothing can be chosen from an (edited) row."""
    if bool(row.isnan().any()):
        return t("the model computed NaN (not a number) for the next token")
    if bool((row == float("inf")).any()):
        return t("the model computed an infinite score for the next token")
    return t("no token is allowed at this position: grammar, logit_bias and min_tokens exclude every one")
