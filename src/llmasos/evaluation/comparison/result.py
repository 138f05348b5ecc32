"""How models are compared, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmasos.evaluation.result import ScoreEntry
from llmasos.evaluation.runs import Run
from llmasos.evaluation.statistics.bootstrap import Interval


@dataclass(frozen=True)
class CompareOptions:
    """How models are compared."""

    metrics: tuple[str, ...] = ()
    """Scores; empty: the first of each task."""
    all_metrics: bool = False
    all_pairs: bool = False
    """Every model against every other; else every model against the first."""
    alpha: float = 0.05
    """The chance of any false finding that is accepted."""
    resamples: int = 10_000
    seed: int = 0
    samples: int = 5
    """Samples shown of each list."""
    allow_different: bool = False
    """Compare although task, data or settings differ."""


@dataclass(frozen=True)
class Change:
    """One sample that two models answered differently."""

    sample_id: str
    index: int
    first: float
    second: float
    """Scores of the sample alone."""


@dataclass(frozen=True)
class PairTest:
    """Two models, one score."""

    task: str
    metric: str
    first: str
    second: str
    difference: float
    """Second minus first."""
    interval: Interval | None
    p_value: float | None
    """``None``: the score cannot be tested, for it is not made of samples."""
    adjusted: float | None
    """The p-value corrected for all tests of the comparison (Holm)."""
    test: str | None
    minimum_detectable: float | None
    """The smallest difference that would be found with probability 80 % at this number of samples. Of a proportion,
    above 1 says that none can be found."""
    only_first: int | None
    """Samples that the first alone has right; ``None``: the score is no proportion."""
    only_second: int | None
    higher_is_better: bool
    better: int
    """Samples on which the second is better, worse, and the same."""
    worse: int
    same: int
    regressions: tuple[Change, ...]
    """Where the second lost most, the largest loss first."""
    improvements: tuple[Change, ...]

    def finding(self, alpha: float) -> str:
        """``better``, ``worse`` (the second than the first) or ``none``: no difference is shown."""
        if self.adjusted is None or self.adjusted >= alpha or self.difference == 0:
            return "none"
        return "better" if (self.difference > 0) == self.higher_is_better else "worse"


@dataclass(frozen=True)
class TaskComparison:
    """All models on one task."""

    task: str
    models: tuple[str, ...]
    samples: int
    """Samples that all models answered."""
    left_out: Mapping[str, int]
    """By model: samples that another lacks."""
    scores: Mapping[str, tuple[ScoreEntry, ...]]
    """By score, for each model, on these samples."""
    tests: tuple[PairTest, ...]
    hardest: tuple[Change, ...]
    """Samples on which all models together do worst; ``first`` is the lowest and ``second`` the highest score."""
    notes: tuple[str, ...]
    """What differs between the runs."""
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Comparison:
    """All tasks."""

    tasks: tuple[TaskComparison, ...]
    options: CompareOptions

    @property
    def tests(self) -> list[PairTest]:
        """All tests, over which p-values are corrected."""
        return [test for task in self.tasks for test in task.tests]
