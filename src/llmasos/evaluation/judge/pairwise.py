"""Pairs of answers, judged in both orders.

Judges favour places: many prefer whatever answer stands first (Zheng et al. 2023, Judging LLM-as-a-judge with MT-bench
and Chatbot Arena, section 3.3). So each pair is asked about twice, with the answers swapped. An answer wins if both
verdicts say so; verdicts that contradict each other make a tie. How often they do is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmasos.evaluation.backends.protocol import Backend
from llmasos.evaluation.judge.model import ask
from llmasos.evaluation.judge.questions import Verdict, pair_question, read_verdict
from llmasos.evaluation.metrics.aggregation import FloatArray
from llmasos.evaluation.statistics.agreement import cohen_kappa, consistency


@dataclass(frozen=True)
class Pair:
    """A task and two answers."""

    task: str
    first: str
    second: str


@dataclass(frozen=True)
class PairVerdict:
    """Both verdicts on a pair, each in terms of its own first and second; ``None``: the judge's text has none."""

    forward: Verdict | None
    backward: Verdict | None
    """Of the pair with the answers swapped, swapped back."""

    @property
    def decided(self) -> Verdict | None:
        """The verdict of both; ``None``: one is missing."""
        if self.forward is None or self.backward is None:
            return None
        return self.forward if self.forward == self.backward else Verdict.TIE


@dataclass(frozen=True)
class PairSummary:
    """What the verdicts on all pairs come to."""

    verdicts: tuple[PairVerdict, ...]

    @property
    def complete(self) -> list[PairVerdict]:
        """Pairs with both verdicts."""
        return [verdict for verdict in self.verdicts if verdict.decided is not None]

    @property
    def unparsed(self) -> int:
        """Verdicts that could not be read; there are two to a pair."""
        return sum((verdict.forward is None) + (verdict.backward is None) for verdict in self.verdicts)

    def points(self) -> FloatArray:
        """(pairs,): 1 where the first answer won, 0 where the second did, 1/2 for ties, NaN without verdict."""
        worth = {Verdict.FIRST: 1.0, Verdict.SECOND: 0.0, Verdict.TIE: 0.5, None: np.nan}
        return np.asarray([worth[verdict.decided] for verdict in self.verdicts], dtype=np.float64)

    def count(self, decided: Verdict) -> int:
        """Pairs with this outcome."""
        return sum(verdict.decided is decided for verdict in self.verdicts)

    @property
    def consistency(self) -> float:
        """Share of complete pairs on which both verdicts agree."""
        return consistency(*self._orders())

    @property
    def kappa(self) -> float:
        """Cohen's kappa between the two orders: agreement beyond chance."""
        return cohen_kappa(*self._orders())

    @property
    def favours_first_place(self) -> float:
        """Of the verdicts for a place on complete pairs that contradict each other, the share for the first place; a
        judge without such a leaning has 1/2. NaN: there are none."""
        places = [
            place
            for verdict in self.complete
            if verdict.forward != verdict.backward and verdict.forward is not None and verdict.backward is not None
            for place in (verdict.forward, verdict.backward.swapped)
            if place is not Verdict.TIE
        ]
        return sum(place is Verdict.FIRST for place in places) / len(places) if places else float("nan")

    def _orders(self) -> tuple[list[Verdict | None], list[Verdict | None]]:
        complete = self.complete
        return [verdict.forward for verdict in complete], [verdict.backward for verdict in complete]


def judge_pairs(
    backend: Backend, pairs: Sequence[Pair], *, criteria: str | None = None, language: str = "en", max_tokens: int = 512
) -> PairSummary:
    """Ask about every pair in both orders, all together."""
    swapped = [Pair(pair.task, pair.second, pair.first) for pair in pairs]
    questions = [
        pair_question(pair.task, pair.first, pair.second, criteria=criteria, language=language)
        for pair in (*pairs, *swapped)
    ]
    verdicts = [read_verdict(text) for text in ask(backend, questions, max_tokens)]
    forward, backward = verdicts[: len(pairs)], verdicts[len(pairs) :]
    return PairSummary(
        tuple(
            PairVerdict(one, None if other is None else other.swapped)
            for one, other in zip(forward, backward, strict=True)
        )
    )
