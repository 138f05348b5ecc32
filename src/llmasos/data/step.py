"""What a step of the pipeline is: the contracts that cleaning, filters and deduplication fulfil.

A step is described in a recipe by a strict configuration (``step: repair_unicode`` and its own keys) and built from it
inside the process that runs it, so it need not be picklable and may load models lazily. Steps never drop or change
silently: a transform counts what it changed, a filter gives a reason, and the pipeline keeps the rejected row with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from llmasos.data.row import Row

Counts = Mapping[str, int]
"""What a step did, by stable English name: ``{"emails_masked": 2}``. Only what is not zero."""

NO_COUNTS: Counts = {}


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a row was rejected.

    Attributes:
        reason: a stable name in snake case that groups rejections in the report: ``too_short``, ``near_duplicate``.
        detail: the evidence for this row, in English, for it is stored with the row: ``"3 words, at least 5"``.
        related: ids of other rows that explain it, such as the row of which this one is a duplicate.
    """

    reason: str
    detail: str = ""
    related: tuple[str, ...] = ()


class Transform(Protocol):
    """Changes one text. Must be pure: the same text always becomes the same."""

    def __call__(self, text: str) -> tuple[str, Counts]:
        """The new text, and what was done to it."""
        ...


class RowTransform(Protocol):
    """Changes or annotates a row as a whole, where one text alone does not say enough."""

    def transform_row(self, row: Row) -> tuple[Row, Counts]: ...


class Filter(Protocol):
    """Accepts (``None``) or rejects a row by looking at it alone."""

    def __call__(self, row: Row) -> Rejection | None: ...


class BatchFilter(Protocol):
    """A filter that is much faster on many rows at once, such as one that asks a model.

    The verdict on a row must not depend on the others in the batch.
    """

    batch_size: int

    def judge(self, rows: Sequence[Row]) -> Sequence[Rejection | None]: ...


class Outcome(NamedTuple):
    """What a corpus step decided on one row; ``row`` may be changed."""

    row: Row
    rejection: Rejection | None = None
    counts: Counts = NO_COUNTS


class CorpusStep(Protocol):
    """A step that must see all rows, such as deduplication. Everything between its phases lies in files.

    The pipeline runs, each phase after the one before has ended everywhere:

    1. ``map_shard`` for every shard, in parallel: note what is needed of its rows under ``folder``;
    2. ``reduce_partition`` for ``range(partitions)``, in parallel: compare what the shards noted;
    3. ``conclude`` once: turn it into decisions for each shard;
    4. ``apply`` for every shard, in parallel: one outcome for each row, in the order of the rows.

    Memory must not grow with the number of rows (a few bytes a row in numpy arrays are the limit). The result must
    not depend on how many processes run; on ties the row that comes first (shard, then position) wins. Every phase may
    be killed and run again: files are written under a temporary name and renamed, or overwritten from the start.
    """

    partitions: int

    def map_shard(self, rows: Iterable[Row], shard: int, folder: Path) -> None: ...

    def reduce_partition(self, partition: int, shards: int, folder: Path) -> None: ...

    def conclude(self, shards: int, folder: Path) -> Counts: ...

    def apply(self, rows: Iterable[Row], shard: int, folder: Path) -> Iterator[Outcome]: ...


Place: TypeAlias = Literal[
    "text",
    "system",
    "user",
    "assistant",
    "tool",
    "prompt",
    "completion",
    "chosen",
    "rejected",
    "source",
    "target",
    "pair",
]
"""Where a text stands in a sample; a name outside these would silently match nothing."""


class StepConfig(BaseModel):
    """Base of the configuration of every step.

    A subclass has a discriminator ``step: Literal["the_name"] = "the_name"``, described fields, and ``build``. Its
    first docstring line is the description that documents and forms show.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class TransformConfig(StepConfig):
    """Base of the configuration of a step that changes texts."""

    places: tuple[Place, ...] | None = Field(
        None,
        description="Where to apply it: text, system, user, assistant, tool, prompt, completion, chosen, rejected, "
        "source, target, pair. Default: everywhere.",
    )

    def build(self) -> Transform:
        raise NotImplementedError


class RowTransformConfig(StepConfig):
    """Base of the configuration of a step that changes or annotates rows."""

    def build(self) -> RowTransform:
        raise NotImplementedError


class FilterConfig(StepConfig):
    """Base of the configuration of a filter."""

    def build(self) -> Filter | BatchFilter:
        raise NotImplementedError


class CorpusStepConfig(StepConfig):
    """Base of the configuration of a step over the whole corpus.

    Relative paths in it (evaluation sets, other data) are resolved by the recipe before the step sees them.
    """

    def build(self) -> CorpusStep:
        raise NotImplementedError


@dataclass(slots=True)
class Tally:
    """A mutable sum of counts."""

    values: dict[str, int] = field(default_factory=dict)

    def add(self, counts: Counts) -> None:
        for name, count in counts.items():
            self.values[name] = self.values.get(name, 0) + count
