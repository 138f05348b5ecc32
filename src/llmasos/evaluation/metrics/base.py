"""What a metric is: options that are checked, and a function from records to scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict

from llmasos.evaluation.metrics.score import Score
from llmasos.evaluation.records import Record

if TYPE_CHECKING:
    from llmasos.modeling.model import Model


@dataclass(frozen=True)
class Context:
    """What a metric needs to know of the task and its surroundings."""

    language: str | None = None
    """Of the outputs, as an ISO 639 code; ``None``: not said."""
    labels: tuple[str, ...] = ()
    """Names of the classes in the order of their numbers, where the task has such."""
    open_model: Callable[[str], Model] | None = None
    """Loads a model by its reference, for metrics that use one."""


class Metric(BaseModel, ABC):
    """A metric with its options. The first of its scores is the one to look at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClassVar[str]

    @abstractmethod
    def compute(self, records: Sequence[Record], context: Context) -> dict[str, Score]:
        """The scores of a run, by name.

        Raises:
            InvalidRequest: the records do not have what the metric needs.
            MissingDependency: a package or its data is not installed.
        """


def text_of(record: Record) -> str:
    """The text that is compared: what was read in the output. Where nothing could be read, the empty text."""
    return record.parsed or ""
