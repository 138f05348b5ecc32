"""How many guesses are worth their rows, pass by pass."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from llmasos.engine.speculation.costs import PassCosts

if TYPE_CHECKING:
    from llmasos.engine.sequence import Sequence as TokenSequence

logger = logging.getLogger(__name__)

LONGEST_DRAFT = 24
"""Most guesses for one sequence in one pass."""


class Proposer(Protocol):
    """Guesses the next tokens of sequences."""

    seconds_per_token: float
    """Measured time that one guess takes, besides the row that verifies it."""

    def chances(self, sequence: TokenSequence, limit: int) -> list[float]:
        """Estimated chance that each of the next guesses (at most ``limit``) is right if those before it are.

        Empty when there is nothing to guess.
        """

    def propose(self, wishes: Sequence[tuple[TokenSequence, int]]) -> list[list[int]]:
        """Guesses for (sequence, how many) pairs, all at once; fewer than wished for is fine."""

    def verified(self, sequence: TokenSequence, proposed: int, accepted: int) -> None:
        """``accepted`` of ``proposed`` guesses were right."""

    def forget(self, sequence: TokenSequence) -> None:
        """The sequence has ended."""


class Speculator:
    """Chooses the drafts of a pass so that tokens per second are highest.

    A guess is worth its row if its chance to be accepted, per second that the row adds, is above the tokens per
    second of the pass without it. Chances come from the proposer's record, seconds from the passes themselves; so
    speculation is wide for a single copying stream, narrow in large batches, and off where it does not pay. Outputs
    are the same in any case (see the package).
    """

    def __init__(self, proposer: Proposer, *, longest: int = LONGEST_DRAFT) -> None:
        self._proposer = proposer
        self._longest = longest
        self._drafts: dict[int, list[int]] = {}
        self._spent = 0.0  # seconds that guessing took before the pass
        self.costs = PassCosts()
        self.proposed = 0
        self.accepted = 0
        self.failed = False
        """Whether the proposer has failed and is not asked any more."""

    def prepare(self, sequences: Sequence[TokenSequence], other_rows: int = 0) -> None:
        """Choose the drafts of the next pass.

        Args:
            sequences: those that are about to get a decode step.
            other_rows: rows that the pass computes besides theirs (prompts).
        """
        # Imported here because the engine's core imports this module.
        from llmasos.engine.core import RUNNER_FAULTS

        self._drafts.clear()
        self._spent = 0.0
        if not self.costs.known or not sequences or self.failed:
            return
        started = time.monotonic()
        try:
            self._prepare(sequences, other_rows)
        except RUNNER_FAULTS as error:  # a draft model that fails must not take requests with it
            self.failed = True
            self._drafts.clear()
            logger.error("guessing tokens failed; speculation is off from now on", exc_info=error)
        self._spent = time.monotonic() - started

    def _prepare(self, sequences: Sequence[TokenSequence], other_rows: int) -> None:
        candidates: list[tuple[float, int]] = []
        for place, sequence in enumerate(sequences):
            room = min(self._longest, sequence.limit - len(sequence.tokens) - 1)
            chance = 1.0
            for each in self._proposer.chances(sequence, room) if room > 0 else ():
                chance *= each
                candidates.append((chance, place))
        if not candidates:
            return
        counts = self._choose(candidates, len(sequences), other_rows)
        wishes = [(sequences[place], count) for place, count in counts.items()]
        for (sequence, _), draft in zip(wishes, self._proposer.propose(wishes), strict=True):
            allowed = self._allowed(sequence, draft)
            if allowed:
                self._drafts[sequence.id] = allowed

    def _choose(self, candidates: list[tuple[float, int]], decoding: int, other_rows: int) -> dict[int, int]:
        """Guesses per sequence, best first, while each raises tokens per second."""
        # Along a sequence chances only fall, so taking the best of all never skips a guess before another.
        candidates.sort(reverse=True)
        costs, extra = self.costs, self._proposer.seconds_per_token
        rows = decoding + other_rows
        tokens, seconds = float(decoding), costs.seconds(rows)
        counts: dict[int, int] = {}
        for chance, place in candidates:
            more = costs.of_one_more(rows) + extra
            if chance * seconds <= tokens * more:
                break
            counts[place] = counts.get(place, 0) + 1
            rows += 1
            tokens += chance
            seconds += more
        return counts

    @staticmethod
    def _allowed(sequence: TokenSequence, draft: list[int]) -> list[int]:
        """The part of a draft that can come to be: nothing after an end token or outside of the grammar."""
        output = sequence.output
        ends = output.sampling.end_ids
        for place, token in enumerate(draft):
            if token in ends:
                draft = draft[: place + 1]
                break
        if output.grammar is not None and draft:
            draft = draft[: output.grammar.accepted(draft)]
        return draft

    def draft(self, sequence: TokenSequence) -> list[int]:
        """The guesses that :meth:`prepare` chose for a sequence."""
        return self._drafts.get(sequence.id, [])

    def verified(self, sequence: TokenSequence, proposed: int, accepted: int) -> None:
        """``accepted`` of the ``proposed`` guesses that were computed were right."""
        self.proposed += proposed
        self.accepted += accepted
        self._proposer.verified(sequence, proposed, accepted)

    def passed(self, rows: int, seconds: float) -> None:
        """The whole step took ``seconds``: :meth:`prepare`, the pass over ``rows`` rows, sampling."""
        self.costs.record(rows, seconds - self._spent)

    def forget(self, sequence: TokenSequence) -> None:
        """Drop what is kept of a sequence that has ended."""
        self._proposer.forget(sequence)
