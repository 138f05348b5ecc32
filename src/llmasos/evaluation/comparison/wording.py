"""What a comparison found, in words: the commands and the Studio say the same."""

from __future__ import annotations

from llmasos.evaluation.comparison.result import PairTest
from llmasos.evaluation.reports.rows import figure
from llmasos.i18n import t


def interval_text(test: PairTest) -> str | None:
    """The ends of the interval of the difference, with their signs."""
    return None if test.interval is None else f"[{test.interval.low:+.4f}, {test.interval.high:+.4f}]"


def p_value_text(value: float | None) -> str | None:
    """A p-value with the digits that count."""
    return None if value is None else "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def smallest_text(test: PairTest) -> str | None:
    """The smallest difference that could be found."""
    smallest = test.minimum_detectable
    if smallest is None:
        return None
    return t("too few samples") if test.only_first is not None and smallest > 1 else figure(smallest)


def finding_text(test: PairTest, alpha: float) -> str:
    """Whether the second is shown to be better or worse than the first."""
    found = test.finding(alpha)
    if found == "none":
        return t("no difference shown")
    return t("{model} is better", model=test.second) if found == "better" else t("{model} is worse", model=test.second)
