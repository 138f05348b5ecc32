"""Two evaluations sample by sample: which samples to show, and the pairs of records on a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llmasos.evaluation.comparison.compare import compare
from llmasos.evaluation.comparison.result import CompareOptions, Comparison
from llmasos.evaluation.finished import Finished
from llmasos.evaluation.records import Record

Which = Literal["worse", "better", "verdict", "all"]


@dataclass(frozen=True)
class Pair:
    """A sample as two models answered it."""

    first: Record
    second: Record


@dataclass(frozen=True)
class Compared:
    """What is known of two evaluations together."""

    comparison: Comparison
    places: dict[Which, list[tuple[int, int]]]
    """Places of the samples in the files of both: where the second is worse or better, the greatest difference first,
    where the verdicts differ, and all that both have."""
    first: Finished
    second: Finished

    def page(self, which: Which, start: int, count: int) -> list[Pair]:
        """Some of the pairs."""
        wanted = self.places[which][start : start + count]
        first = self.first.samples().records([one for one, _ in wanted])
        second = self.second.samples().records([two for _, two in wanted])
        return [Pair(one, two) for one, two in zip(first, second, strict=True)]


def compared(first: Finished, second: Finished, names: Sequence[str], *, allow_different: bool) -> Compared:
    """Compare two evaluations of one task.

    Args:
        names: what the two are called, which differ.
        allow_different: compare although the samples or settings differ, which the notes say.

    Raises:
        InvalidRequest: they cannot be compared.
        IntegrityError: a file is damaged.
    """
    every = max(first.evaluation.samples, second.evaluation.samples)
    options = CompareOptions(samples=every, allow_different=allow_different)
    found = compare({names[0]: [first.run()], names[1]: [second.run()]}, options)
    (test,) = found.tests
    ids = [item.samples().sample_ids() for item in (first, second)]
    statuses = [item.samples().statuses() for item in (first, second)]
    places = [{sample: place for place, sample in enumerate(known)} for known in ids]
    both = [(places[0][sample], places[1][sample]) for sample in places[0] if sample in places[1]]
    return Compared(
        found,
        {
            "worse": [(places[0][change.sample_id], places[1][change.sample_id]) for change in test.regressions],
            "better": [(places[0][change.sample_id], places[1][change.sample_id]) for change in test.improvements],
            "verdict": [(one, two) for one, two in both if statuses[0][one] is not statuses[1][two]],
            "all": both,
        },
        first,
        second,
    )
