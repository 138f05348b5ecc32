"""Where marks and bands of scores stand."""

from __future__ import annotations

import math

from llmasos.evaluation.result import ScoreEntry
from llmasos.studio.evaluation.intervals import Scale, scale_of


def test_shares_stand_between_zero_and_one() -> None:
    assert scale_of([ScoreEntry(0.5, 0.4, 0.6), ScoreEntry(0.9)]) == Scale(0.0, 1.0)
    assert scale_of([]) == scale_of([ScoreEntry(math.nan)]) == Scale(0.0, 1.0)


def test_other_scores_have_room() -> None:
    scale = scale_of([ScoreEntry(20.0, 10.0, 30.0), ScoreEntry(25.0)])
    assert scale == Scale(9.0, 31.0)
    assert scale.place(9.0) == 0.0 and scale.place(31.0) == 100.0 and scale.place(20.0) == 50.0
    assert scale_of([ScoreEntry(7.0)]).place(7.0) == 50.0


def test_nothing_stands_outside() -> None:
    scale = Scale(0.0, 1.0)
    assert (scale.place(-1.0), scale.place(2.0), scale.place(math.inf), scale.place(math.nan)) == (0.0, 100.0, 0.0, 0.0)
